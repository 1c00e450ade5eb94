// Draws the charts: those in view first, and of a chart that has changed only what is new.
(function () {
    "use strict";
    const ours = (window.gradlens = window.gradlens || {});
    const same = () => window.dash_clientside.no_update;

    // What Dash's polyfills have replaced by slower ones: see application.py.
    Object.assign(window, { parseInt: ours.parseInt, parseFloat: ours.parseFloat });
    Object.assign(Number, { parseInt: ours.parseInt, parseFloat: ours.parseFloat });
    Object.assign(String.prototype, { trim: ours.trim });

    const CONFIG = { displayModeBar: false, displaylogo: false, doubleClick: "autosize", scrollZoom: false, showTips: false };
    const SOON_MS = 50, AGAIN_MS = 2000;

    // ---- what the server sends --------------------------------------------------------------------------------------

    // What the charts are to show: a page's view, the theme, and how far they have grown.
    let wanted = null, path = null, again = 0;

    function ask(view, theme, until) {
        wanted = view && JSON.stringify([view, theme, until]);
        path = view && view.path;
        askForAll();
        return same();
    }

    // Cards may come after the view, or before it; and React may give the element of a card to another one.
    function askForAll() {
        for (const card of document.querySelectorAll(".card")) { chartOf(card); }
        if (!wanted || path !== window.location.pathname) { return; }
        for (const card of document.querySelectorAll(".card")) {
            if (card._chart.wanted !== wanted) { askFor(card); }
        }
    }

    new MutationObserver((changes) => {
        if (changes.some(({ target }) => !target.closest(".graph"))) { askForAll(); }  // Plotly changes much within
    }).observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-name"] });

    function chartOf(card) {
        if (!card._chart || card._chart.name !== card.dataset.name) {
            const graph = graphOf(card);
            if (graph) { window.Plotly.purge(graph); }
            card._chart = { name: card.dataset.name };
            ours.build(card);
        }
        return card._chart;
    }

    function graphOf(card) { return card.querySelector(".graph"); }

    async function askFor(card) {
        const chart = card._chart;
        chart.wanted = wanted;
        if (chart.isAsked) { chart.isStale = true; return; }
        chart.isAsked = true;
        const given = ours.fields();
        given.set("theme", document.documentElement.dataset.agThemeMode || "light");
        if (chart.id) { given.set("has", chart.id); }
        try {
            const answer = await window.fetch(ours.beside(`drawing/${ours.pageName()}/${chart.name}`, given));
            if (answer.status === 200 && card._chart === chart) { take(card, await answer.json()); }
        } catch (error) {  // the server is away, or a reload cut the request; what is drawn stays until it is back
            chart.wanted = null;
            window.clearTimeout(again);  // one for all: each would ask for all, and fail for all
            again = window.setTimeout(askForAll, AGAIN_MS);
        }
        chart.isAsked = false;
        if (chart.isStale && card._chart === chart) {
            chart.isStale = false;
            askFor(card);
        }
    }

    // A drawing comes whole, or as the traces that differ from the one that this page has.
    function take(card, sent) {
        const chart = card._chart;
        const data = sent.base ? chart.data.slice() : [];
        for (const [index, trace] of Object.entries(sent.traces)) { data[index] = unpacked(trace); }
        const [layout, texts] = sent.around;
        Object.assign(chart, { id: sent.id, data: data, layout: layout });
        ours.say(card, texts, layout);
        waiting.add(card);
        next();
    }

    function unpacked(trace) {
        for (const side of ["x", "y"]) {
            if (trace[side] && trace[side].bdata && !trace[side].shape) { trace[side] = numbers(trace[side]); }
        }
        return trace;
    }

    function numbers(packed) {
        const text = window.atob(packed.bdata), bytes = new Uint8Array(text.length);
        for (let index = 0; index < text.length; index += 1) { bytes[index] = text.charCodeAt(index); }
        return packed.dtype === "f4" ? new Float32Array(bytes.buffer) : new Float64Array(bytes.buffer);
    }

    // ---- drawing, one chart at a time -------------------------------------------------------------------------------

    const waiting = new Set();
    let busy = false;

    function isInView(card) {
        const box = card.getBoundingClientRect();
        return box.bottom > 0 && box.top < window.innerHeight;
    }

    function next() {
        if (busy) { return; }
        for (const card of waiting) { if (!card.isConnected) { waiting.delete(card); } }
        const all = [...waiting], seen = all.find(isInView), card = seen || all[0];
        if (!card) { return; }
        busy = true;
        const soon = () => {
            waiting.delete(card);
            draw(card).finally(() => { busy = false; next(); });
        };
        if (seen) { window.setTimeout(soon, 0); } else { whenIdle(soon); }
    }

    function whenIdle(act) {
        if (window.requestIdleCallback) { window.requestIdleCallback(act, { timeout: SOON_MS }); } else { window.setTimeout(act, 0); }
    }

    async function draw(card) {
        const chart = card._chart;
        if (!card.isConnected || !chart.data) { return; }
        const place = card.querySelector(".plot"), { sentence } = chart.layout.meta;
        if (place.querySelector(".sentence") || sentence) { clear(place, sentence); }
        if (sentence) { return; }
        const isNew = !graphOf(card);
        if (isNew) {
            const made = document.createElement("div");
            made.className = "graph";
            place.append(made);
        }
        const graph = graphOf(card);
        // Plotly writes into the layout that it is given; it asks again what is under a resting pointer.
        const data = ours.spare(graph, chart.data, chart.layout);
        await window.Plotly.react(graph, data, structuredClone(chart.layout), CONFIG);
        if (!graph.isConnected) { return; }
        place.classList.remove("waiting");
        if (isNew) {
            graph.on("plotly_relayout", (moved) => ours.zoom(moved, graph));
            ours.follow(graph);
            ours.paintAlong(graph);
            sizes.observe(graph);
        }
        ours.placeHandle(graph);
    }

    // A sentence in the place of a chart, or room for a chart in that of a sentence.
    function clear(place, sentence) {
        const graph = place.querySelector(".graph");
        if (graph) { window.Plotly.purge(graph); }
        place.replaceChildren();
        if (sentence) {
            const said = document.createElement("p");
            said.className = "sentence";
            said.textContent = sentence;
            place.append(said);
            place.classList.remove("waiting");
        }
    }

    const sizes = new ResizeObserver((entries) => {
        for (const entry of entries) {
            const graph = entry.target, now = graph._fullLayout;
            if (!graph.isConnected) { sizes.unobserve(graph); continue; }
            const { width, height } = entry.contentRect;
            if (!now || !width || (Math.abs(now.width - width) < 1 && Math.abs(now.height - height) < 1)) { continue; }
            window.requestAnimationFrame(() => { if (graph.isConnected) { window.Plotly.Plots.resize(graph); } });
        }
    });

    window.dash_clientside = window.dash_clientside || {};
    window.dash_clientside.gradlens = Object.assign(window.dash_clientside.gradlens || {}, { ask });
})();
