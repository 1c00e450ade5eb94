// Draws many curves on a canvas over Plotly's axes: as SVG they take a browser several times as long.
(function () {
    "use strict";
    const ours = (window.gradlens = window.gradlens || {});

    // What Plotly is given of a drawing: of many curves only what its axes and its pointer need, each in its place.
    function spare(graph, data, layout) {
        const curves = isMany(layout) ? data.filter(isCurve) : [];
        graph._gradlensCurves = curves;
        if (!curves.length) { return data.slice(); }
        const faint = curves.filter((trace) => trace.hoverinfo === "skip"), all = { x: ends(faint, "x"), y: ends(faint, "y") };
        return data.map((trace) => {
            const place = faint.indexOf(trace);
            return place > 0 ? { visible: false } : isCurve(trace) ? { ...trace, mode: "none", ...(place ? {} : all) } : trace;
        });
    }

    // Lines across lie over the curves: with those, Plotly draws all. Crosses are at the edge.
    function isMany(layout) { return (layout.meta.curves || []).length > 0 && !(layout.shapes || []).length; }

    function isCurve(trace) {
        return trace.type === "scatter" && trace.mode === "lines" && !trace.fill && [trace.x, trace.y].every(ArrayBuffer.isView);
    }

    function ends(traces, side) {
        let low = Infinity, high = -Infinity;
        for (const trace of traces) {
            for (const value of trace[side]) {
                if (value < low) { low = value; }
                if (value > high) { high = value; }
            }
        }
        return low <= high ? [low, high] : [];
    }

    // Wherever Plotly draws anew, the curves go along.
    function paintAlong(graph) {
        graph.on("plotly_afterplot", () => paint(graph));
        paint(graph);
    }

    function paint(graph) {
        const curves = graph._gradlensCurves, { xaxis, yaxis } = graph._fullLayout;
        const old = graph.querySelector(".curves");
        if (!curves.length) { if (old) { old.remove(); } return; }
        const canvas = old || document.createElement("canvas"), ratio = window.devicePixelRatio || 1;
        canvas.className = "curves";
        canvas.width = Math.round(xaxis._length * ratio);
        canvas.height = Math.round(yaxis._length * ratio);
        canvas.style.cssText = `left:${xaxis._offset}px;top:${yaxis._offset}px;width:${xaxis._length}px;height:${yaxis._length}px`;
        const pen = canvas.getContext("2d"), x = scale(xaxis, 0, xaxis._length), y = scale(yaxis, yaxis._length, 0);
        pen.scale(ratio, ratio);
        pen.lineJoin = "round";
        for (const trace of curves) { stroke(pen, trace, x, y); }
        if (!old) { graph.querySelector(".main-svg").after(canvas); }
    }

    function stroke(pen, trace, x, y) {
        pen.strokeStyle = trace.line.color;
        pen.lineWidth = trace.line.width;
        pen.beginPath();
        let isDown = false;
        for (let index = 0; index < trace.x.length; index += 1) {
            const across = x(trace.x[index]), up = y(trace.y[index]);
            if (!Number.isFinite(across) || !Number.isFinite(up)) { isDown = false; continue; }
            if (isDown) { pen.lineTo(across, up); } else { pen.moveTo(across, up); }
            isDown = true;
        }
        pen.stroke();
    }

    // From values of an axis to pixels; what a logarithmic axis has no place for is NaN.
    function scale(axis, from, to) {
        const [first, last] = axis.range.map((end) => axis.r2l(end)), slope = (to - from) / (last - first);
        return axis.type === "log" ? (value) => from + slope * (Math.log10(value) - first) : (value) => from + slope * (value - first);
    }

    Object.assign(ours, { spare, paintAlong });
})();
