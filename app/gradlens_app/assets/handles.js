// A line across a chart that the reader drags, or moves by the arrow keys: it sets a field of the address.
(function () {
    "use strict";
    const ours = (window.gradlens = window.gradlens || {});

    const OFTEN_MS = 250;
    const GRIP = 9;

    // Wherever Plotly draws anew, the handle goes along.
    function placeHandle(plot) {
        if (!plot._gradlensHandle) {
            plot._gradlensHandle = true;
            plot.on("plotly_afterplot", () => put(plot));
        }
        put(plot);
    }

    function put(plot) {
        const told = plot.layout && plot.layout.meta && plot.layout.meta.handle;
        let grip = plot.querySelector(":scope > .handle");
        if (!told || !plot._fullLayout || !plot._fullLayout.xaxis) { if (grip) { grip.remove(); } return; }
        if (!grip) { grip = newHandle(plot); }
        if (grip.dataset.moving) { return; }
        grip.className = "handle along-" + told.along;
        grip.setAttribute("aria-label", told.label);
        grip.setAttribute("aria-orientation", told.along === "x" ? "horizontal" : "vertical");
        moveHandle(plot, grip, handleAxis(plot).d2p(plot.layout.shapes[told.shape][told.along + "0"]));
    }

    function handleAxis(plot) {
        return plot._fullLayout[plot.layout.meta.handle.along === "x" ? "xaxis" : "yaxis"];
    }

    // Pixels along the axis, kept within it; the reader sees and hears the value there.
    function moveHandle(plot, grip, pixels) {
        const told = plot.layout.meta.handle, axis = handleAxis(plot);
        const x = plot._fullLayout.xaxis, y = plot._fullLayout.yaxis;
        const at = Math.min(axis._length, Math.max(0, pixels));
        const side = told.along === "x"
            ? `left:${x._offset + at - GRIP}px;top:${y._offset}px;width:${2 * GRIP}px;height:${y._length}px`
            : `left:${x._offset}px;top:${y._offset + at - GRIP}px;width:${x._length}px;height:${2 * GRIP}px`;
        const value = (pixel) => Number((axis.p2d(pixel) * told.times).toPrecision(3));
        const ends = [value(0), value(axis._length)].sort((a, b) => a - b);
        grip.style.cssText = side;
        grip.dataset.at = String(at);
        grip.dataset.value = String(value(at));
        grip.setAttribute("aria-valuemin", ends[0]);
        grip.setAttribute("aria-valuemax", ends[1]);
        grip.setAttribute("aria-valuenow", value(at));
        grip.firstChild.textContent = String(value(at));
    }

    function setFromHandle(plot, grip) {
        delete grip.dataset.moving;
        const given = ours.fields();
        given.set(plot.layout.meta.handle.control, grip.dataset.value);
        ours.go(given);
    }

    function newHandle(plot) {
        const grip = document.createElement("div");
        grip.appendChild(document.createElement("span"));
        grip.tabIndex = 0;
        grip.setAttribute("role", "slider");
        let from = 0, later = 0;
        const pointer = (event) => (plot.layout.meta.handle.along === "x" ? event.clientX : event.clientY);
        grip.addEventListener("pointerdown", (event) => {
            if (event.button) { return; }
            event.preventDefault();
            grip.focus({ preventScroll: true });
            grip.setPointerCapture(event.pointerId);
            from = pointer(event) - Number(grip.dataset.at);
            grip.dataset.moving = "pointer";
        });
        grip.addEventListener("pointermove", (event) => {
            if (grip.dataset.moving === "pointer") { moveHandle(plot, grip, pointer(event) - from); }
        });
        grip.addEventListener("pointerup", () => { if (grip.dataset.moving === "pointer") { setFromHandle(plot, grip); } });
        grip.addEventListener("pointercancel", () => { delete grip.dataset.moving; put(plot); });
        grip.addEventListener("keydown", (event) => {
            const up = { ArrowRight: 1, ArrowUp: 1, PageUp: 10, ArrowLeft: -1, ArrowDown: -1, PageDown: -10 }[event.key];
            if (!up || event.ctrlKey || event.metaKey || event.altKey) { return; }
            event.preventDefault();
            const step = up * handleAxis(plot)._length / 100;
            grip.dataset.moving = "keys";
            moveHandle(plot, grip, Number(grip.dataset.at) + (plot.layout.meta.handle.along === "x" ? step : -step));
            window.clearTimeout(later);
            later = window.setTimeout(() => setFromHandle(plot, grip), OFTEN_MS);
        });
        plot.appendChild(grip);
        return grip;
    }

    ours.placeHandle = placeHandle;
})();
