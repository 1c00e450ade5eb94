// The pointer of one chart is that of all, and says which of many curves it is on.
(function () {
    "use strict";
    const ours = (window.gradlens = window.gradlens || {});
    const CURVES = '[data-curves="yes"] .js-plotly-plot';
    const FEW = 24;
    let leading = null;

    function follow(plot) {
        plot.on("plotly_hover", (event) => {
            if (leading) { return; }
            tell(plot, event);
            if (!plot.matches(CURVES)) { return; }
            leading = plot;
            const x = event.xvals ? event.xvals[0] : event.points[0].x;
            for (const other of others(plot)) { point(other, x); }
            leading = null;
        });
        plot.on("plotly_unhover", () => {
            for (const mark of document.querySelectorAll(".crosshair, .tip")) { mark.remove(); }
            for (const other of plot.matches(CURVES) ? others(plot) : []) { window.Plotly.Fx.unhover(other); }
        });
    }

    function others(plot) {
        return [...document.querySelectorAll(CURVES)].filter((other) => other !== plot && other._fullLayout && other._fullLayout.xaxis);
    }

    function point(plot, x) {
        const axis = plot._fullLayout.xaxis;
        const place = axis._offset + axis.d2p(x);
        const line = part(plot, "crosshair");
        const y = plot._fullLayout.yaxis;
        line.style.cssText = `left:${place}px;top:${y._offset}px;height:${y._length}px`;
        line.hidden = place < axis._offset || place > axis._offset + axis._length;
        if (!line.hidden && !manyOf(plot).length && plot.data.length <= FEW) { window.Plotly.Fx.hover(plot, { xval: x }, "xy"); }
    }

    function part(plot, name) {
        let found = plot.querySelector(":scope > ." + name);
        if (!found) {
            found = document.createElement("div");
            found.className = name;
            plot.appendChild(found);
        }
        return found;
    }

    // Many curves of one colour are one trace; where each begins, and what it is called, comes with the drawing.
    function manyOf(plot) { return (plot.layout && plot.layout.meta && plot.layout.meta.curves) || []; }

    function tell(plot, event) {
        const at = event.points[0];
        const curves = manyOf(plot).find((each) => each.trace === at.curveNumber);
        if (!curves) { return; }
        const { xaxis, yaxis } = plot._fullLayout;
        const which = curves.starts.findLastIndex((start) => start <= at.pointNumber);
        const tip = part(plot, "tip");
        tip.textContent = `${curves.names[which]}: ${Number(at.y.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 })}`;
        const x = xaxis._offset + xaxis.d2p(at.x), y = yaxis._offset + yaxis.d2p(at.y);
        const isLeft = x > plot.clientWidth / 2;
        tip.style.cssText = `top:${y}px;` + (isLeft ? `right:${plot.clientWidth - x + 10}px` : `left:${x + 10}px`);
    }

    Object.assign(ours, { follow });
})();
