// What surrounds a chart: its title, tools, foot, and its numbers as a table.
(function () {
    "use strict";
    const ours = (window.gradlens = window.gradlens || {});
    const FORMS = ["csv", "pdf", "svg", "png"];

    function made(tag, classes, text, attributes) {
        const element = document.createElement(tag);
        if (classes) { element.className = classes; }
        if (text) { element.textContent = text; }
        for (const [name, value] of Object.entries(attributes || {})) { element.setAttribute(name, value); }
        return element;
    }

    function tools(name, title, flips) {
        const row = made("div", "tools");
        for (const axis of flips) {
            const said = { type: "button", "aria-label": `${title}: logarithmic ${axis} axis`, "aria-pressed": "false", "data-flip": axis };
            row.append(made("button", "tool flip", `log ${axis}`, said));
        }
        for (const form of FORMS) {
            const said = { href: "#", download: "", "aria-label": `${title} as ${form.toUpperCase()}`, "data-chart": name, "data-form": form };
            row.append(made("a", "tool save", form.toUpperCase(), said));
        }
        row.append(made("button", "tool full", "⤢", { type: "button", title: "Full screen", "aria-label": `${title}: full screen` }));
        return row;
    }

    // The server sends a card empty: React takes long over many small parts.
    function build(card) {
        const { name, title, flips, curves } = card.dataset;
        const head = made("div", "card-head");
        head.append(made("h2", "", title), tools(name, title, flips));
        const plot = made("div", "plot waiting", "", {
            role: "group", tabindex: curves === "yes" ? "0" : "-1", "data-curves": curves,
            "aria-label": `${title}, chart; its numbers are in the table below`,
        });
        const behind = made("details", "behind");
        behind.append(made("summary", "", "Numbers", { "aria-label": `${title}: numbers as a table` }), made("div", "numbers"));
        behind.addEventListener("toggle", () => showNumbers(card));
        card.replaceChildren(head, made("p", "card-subtitle", "\u00a0"), plot, made("p", "foot"), behind);
    }

    function say(card, [title, measured, foot], layout) {
        card.querySelector("h2").textContent = title;
        const subtitle = card.querySelector(".card-subtitle");
        subtitle.textContent = measured || "\u00a0";
        subtitle.title = measured;
        card.querySelector(".foot").textContent = foot;
        for (const button of card.querySelectorAll(".flip")) {
            const axis = layout[button.dataset.flip + "axis"];
            button.setAttribute("aria-pressed", axis && axis.type === "log" ? "true" : "false");
        }
        showNumbers(card);
    }

    async function showNumbers(card) {
        const place = card.querySelector(".numbers");
        if (!card.querySelector(".behind").open) { return; }
        const turn = card._turn = (card._turn || 0) + 1;
        let found = null;
        try {
            const answer = await window.fetch(ours.beside(`numbers/${ours.pageName()}/${card.dataset.name}`, ours.fields()));
            if (answer.status === 200) { found = await answer.json(); }
        } catch (error) { /* the server is away; what stands there stays */ }
        if (!found || turn !== card._turn) { return; }  // an older answer may come later than a newer one
        const { caption, head, rows } = found;
        const table = made("table"), top = made("tr");
        top.append(...head.map((text) => made("th", "", text, { scope: "col" })));
        const body = made("tbody");
        for (const [first, ...others] of rows) {
            const row = made("tr");
            row.append(made("th", "", first, { scope: "row" }), ...others.map((text) => made("td", "", text)));
            body.append(row);
        }
        const heads = made("thead");
        heads.append(top);
        table.append(made("caption", "", caption), heads, body);
        place.replaceChildren(table);
    }

    // The scale of an axis, in the field ``log`` of the address: CHART:AXIS where it is not the chart's own.
    function flip(button) {
        const given = ours.fields();
        const all = new Set((given.get("log") || "").split(",").filter(Boolean));
        const name = `${button.closest(".card").dataset.name}:${button.dataset.flip}`;
        if (all.has(name)) { all.delete(name); } else { all.add(name); }
        if (all.size) { given.set("log", [...all].join(",")); } else { given.delete("log"); }
        ours.go(given);
    }

    document.addEventListener("click", (event) => {
        const button = event.target.closest(".flip");
        if (button) { flip(button); }
    });

    Object.assign(ours, { build, say });
})();
