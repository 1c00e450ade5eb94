// What the browser does by itself: the address holds the whole state, and the pointer of one chart is that of all.
(function () {
    "use strict";
    const same = () => window.dash_clientside.no_update;
    const fields = () => new URLSearchParams(window.location.search);

    // URLSearchParams would write a comma as %2C; the address is read by people too.
    function written(given) {
        const text = given.toString().replace(/%2C/g, ",").replace(/%3A/g, ":");
        return text ? "?" + text : "";
    }

    function changed(given) {
        const search = written(given);
        return search === written(fields()) ? same() : search;
    }

    // As controls.as_text writes it.
    function asText(value) {
        if (value === null || value === undefined) { return ""; }
        if (Array.isArray(value)) {
            return value.map((part) => String(part).replace(/%/g, "%25").replace(/,/g, "%2C")).join(",");
        }
        return String(value);
    }

    function triggered() {
        const found = window.dash_clientside.callback_context.triggered;
        return found && found.length ? found[0] : null;
    }

    function stored(name) {
        try { return window.localStorage.getItem(name); } catch (error) { return null; }
    }

    function theme(clicks) {
        let now = stored("gradlens-theme");
        if (now !== "dark" && now !== "light") {
            now = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
        }
        if (clicks) {
            now = now === "dark" ? "light" : "dark";
            try { window.localStorage.setItem("gradlens-theme", now); } catch (error) { /* a private window */ }
        }
        document.documentElement.dataset.agThemeMode = now;
        return [now, now, now === "dark" ? "Light theme" : "Dark theme"];
    }

    // A control differs from what the server told: the reader has moved it.
    function control(choices, sliders, choiceIds, sliderIds, told) {
        const given = fields();
        if (!told) { return same(); }
        const all = choiceIds.map((id, i) => [id.name, choices[i]])
            .concat(sliderIds.filter((id) => id.name !== "until").map((id, i) => [id.name, sliders[i]]));
        let moved = false;
        for (const [name, value] of all) {
            if (value === undefined || !(name in told) || asText(value) === told[name]) { continue; }
            given.set(name, asText(value));
            if (name === "x") { given.delete("zoom"); }
            if (name !== "runs" && asText(value) === "") { given.delete(name); }
            moved = true;
        }
        return moved ? changed(given) : same();
    }

    // Dragged, so the address is written without a stop in the history for each position.
    function until(sliders, ids) {
        const place = ids.findIndex((id) => id.name === "until");
        if (place < 0 || typeof sliders[place] !== "number") { return same(); }
        const given = fields();
        if (sliders[place] >= 100) { given.delete("until"); } else { given.set("until", String(sliders[place])); }
        if (written(given) !== written(fields())) {
            window.history.replaceState(null, "", window.location.pathname + written(given));
        }
        return sliders[place];
    }

    function plotOf(id) {
        const place = document.getElementById(id);
        return place ? place.querySelector(".js-plotly-plot") : null;
    }

    function domId(id) { return JSON.stringify(id, Object.keys(id).sort()); }

    function zoom() {
        const event = triggered();
        if (!event || !event.value) { return same(); }
        const given = fields();
        if (event.value["xaxis.autorange"]) {
            given.delete("zoom");
            return changed(given);
        }
        const ends = [event.value["xaxis.range[0]"], event.value["xaxis.range[1]"]];
        if (!ends.every((end) => Number.isFinite(end))) { return same(); }
        const plot = plotOf(event.prop_id.slice(0, event.prop_id.lastIndexOf(".")));
        return changed(zoomed(given, ends, plot && plot._fullLayout.xaxis.type === "log"));
    }

    function zoomed(given, ends, isLog) {
        let [low, high] = isLog ? ends.map((end) => Math.pow(10, end)) : ends;
        if ((given.get("x") || "step") === "step") { [low, high] = [Math.max(0, Math.round(low)), Math.round(high)]; }
        if (low < high) { given.set("zoom", plain(low) + ".." + plain(high)); }
        return given;
    }

    function plain(number) { return String(Number(number.toPrecision(9))); }

    function unzoom(clicks) {
        if (!clicks) { return same(); }
        const given = fields();
        given.delete("zoom");
        return changed(given);
    }

    function zoomText(view) {
        const given = new URLSearchParams((view && view.search) || "");
        const ends = (given.get("zoom") || "").split("..");
        if (ends.length !== 2) { return ["range hidden", ""]; }
        const [low, high] = ends.map((end) => Number(end).toLocaleString("en"));
        return ["range", `${given.get("x") || "step"} ${low} to ${high} of every curve`];
    }

    function flip() {
        const event = triggered();
        if (!event || !event.value) { return same(); }
        const name = JSON.parse(event.prop_id.slice(0, event.prop_id.lastIndexOf("."))).name;
        const button = document.getElementById(domId({ type: "flip", name: name }));
        if (button) { button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "true" ? "false" : "true"); }
        const given = fields();
        const all = new Set((given.get("log") || "").split(",").filter(Boolean));
        if (all.has(name)) { all.delete(name); } else { all.add(name); }
        if (all.size) { given.set("log", [...all].join(",")); } else { given.delete("log"); }
        return changed(given);
    }

    // The table of a chart is asked for while it is open, anew whenever the chart changes.
    function tabled(clicks) { return clicks % 2 ? String(Date.now()) : same(); }

    function pause(clicks) {
        if (!clicks) { return same(); }
        const given = fields();
        if (given.get("live") === "off") { given.delete("live"); } else { given.set("live", "off"); }
        return changed(given);
    }

    // Runs, clock and comparison go along to the other pages; what is a page's own stays behind.
    const CARRIED = ["runs", "x", "smooth", "group", "baseline", "live"];

    // A control that another choice makes idle is not there.
    function idle(given) {
        for (const place of document.querySelectorAll("[data-when]")) {
            const now = given.get(place.dataset.when) || place.dataset.default;
            place.classList.toggle("hidden", now !== place.dataset.is);
        }
    }

    function address(search, path, ids, prefix) {
        idle(new URLSearchParams(search || ""));
        const given = new URLSearchParams(search || "");
        const kept = new URLSearchParams();
        for (const name of CARRIED) { if (given.has(name)) { kept.set(name, given.get(name)); } }
        const trim = (text) => (text || "").replace(/\/+$/, "");
        const here = trim(path);
        const hrefs = ids.map((id) => (prefix.replace(/\/$/, "") + id.path || "/") + written(kept));
        const classes = ids.map((id) => {
            const isHere = trim(prefix.replace(/\/$/, "") + id.path) === here;
            const link = document.getElementById(domId(id));
            if (link) { if (isHere) { link.setAttribute("aria-current", "page"); } else { link.removeAttribute("aria-current"); } }
            return isHere ? "rail-link here" : "rail-link";
        });
        const off = given.get("live") === "off";
        const button = document.getElementById("live-switch");
        if (button) { button.setAttribute("aria-pressed", off ? "false" : "true"); }
        return [hrefs, classes, off, off ? "paused" : "live"];
    }

    // The table's state in the address, once it has taken over what the address said.
    function tableToAddress(selected, find, columns, baseline, state, asked) {
        if (!asked || !triggered() || triggered().prop_id.endsWith("asked.data")) { return same(); }
        const given = fields();
        const put = (name, text) => { if (text) { given.set(name, text); } else { given.delete(name); } };
        if (Array.isArray(selected)) { put("runs", selected.map((row) => row.key).join(",")); }
        put("find", find);
        put("columns", columns && columns.length ? asText(columns) : "");
        put("baseline", baseline);
        const sorted = (state || []).find((column) => column.sort);
        put("sort", sorted ? `${sorted.colId}:${sorted.sort}` : "");
        return changed(given);
    }

    // The baseline stays on top however the others are sorted.
    function quickFilter(find, rows, baseline, options) {
        const pinned = (rows || []).filter((row) => row.key === baseline);
        return Object.assign({}, options, { quickFilterText: find || "", pinnedTopRowData: pinned });
    }

    // ---- the pointer ------------------------------------------------------------------------------------------------

    let leading = null;
    const FEW = 24;

    function follow(plot) {
        if (plot._gradlens) { return; }
        plot._gradlens = true;
        plot.on("plotly_hover", (event) => {
            if (leading) { return; }
            leading = plot;
            const x = event.xvals ? event.xvals[0] : event.points[0].x;
            for (const other of document.querySelectorAll('[data-curves="yes"] .js-plotly-plot')) {
                if (other !== plot && other._fullLayout && other._fullLayout.xaxis) { point(other, x); }
            }
            leading = null;
        });
        plot.on("plotly_unhover", () => {
            for (const line of document.querySelectorAll(".crosshair")) { line.remove(); }
            for (const other of document.querySelectorAll('[data-curves="yes"] .js-plotly-plot')) {
                if (other !== plot && other._fullLayout) { window.Plotly.Fx.unhover(other); }
            }
        });
    }

    function point(plot, x) {
        const axis = plot._fullLayout.xaxis;
        const place = axis._offset + axis.d2p(x);
        let line = plot.querySelector(".crosshair");
        if (!line) {
            line = document.createElement("div");
            line.className = "crosshair";
            plot.appendChild(line);
        }
        const y = plot._fullLayout.yaxis;
        line.style.cssText = `left:${place}px;top:${y._offset}px;height:${y._length}px`;
        line.hidden = place < axis._offset || place > axis._offset + axis._length;
        if (!line.hidden && plot.data.length <= FEW) { window.Plotly.Fx.hover(plot, { xval: x }, "xy"); }
    }

    document.addEventListener("pointerenter", (event) => {
        const plot = event.target.closest ? event.target.closest('[data-curves="yes"] .js-plotly-plot') : null;
        if (plot && plot.on) { follow(plot); }
    }, true);

    // ---- clicks and keys --------------------------------------------------------------------------------------------

    function saveLink(link) {
        const given = fields();
        const told = window.gradlensTold || {};
        if (!given.has("runs") && told.runs) { given.set("runs", told.runs); }
        if (link.dataset.chart) { given.set("chart", link.dataset.chart); }
        const here = document.querySelector('.rail [aria-current="page"]');
        const path = here ? new URL(here.href).pathname : window.location.pathname;
        const at = path.replace(/\/$/, "").lastIndexOf("/");
        link.href = `${path.slice(0, at + 1)}export/${path.replace(/\/$/, "").slice(at + 1)}.${link.dataset.form}${written(given)}`;
    }

    document.addEventListener("click", (event) => {
        const link = event.target.closest(".save");
        if (link) { saveLink(link.closest("a") || link); }
        const full = event.target.closest(".full");
        if (full) { toggleFull(full.closest(".card")); }
        const copy = event.target.closest(".copy");
        if (copy) { copyLink(copy); }
    }, true);

    function toggleFull(card) {
        if (document.fullscreenElement) { document.exitFullscreen(); return; }
        if (card.requestFullscreen) { card.requestFullscreen(); }
    }

    document.addEventListener("fullscreenchange", () => { window.dispatchEvent(new Event("resize")); });

    function copyLink(button) {
        const given = fields();
        const told = window.gradlensTold || {};
        if (!given.has("runs") && told.runs) { given.set("runs", told.runs); }
        const text = window.location.origin + window.location.pathname + written(given);
        const said = () => {
            button.textContent = "Copied";
            window.setTimeout(() => { button.textContent = "Copy link"; }, 1500);
        };
        if (navigator.clipboard && window.isSecureContext) { navigator.clipboard.writeText(text).then(said, () => window.prompt("Copy", text)); }
        else { window.prompt("Copy", text); }
    }

    // A chart that has the focus is zoomed by + and -, moved by the arrows, and shown whole by 0.
    document.addEventListener("keydown", (event) => {
        const place = event.target.matches && event.target.matches('.plot[data-curves="yes"]') ? event.target : null;
        const plot = place ? place.querySelector(".js-plotly-plot") : null;
        if (!plot || event.ctrlKey || event.metaKey || event.altKey) { return; }
        const [low, high] = plot._fullLayout.xaxis.range;
        const middle = (low + high) / 2, half = (high - low) / 2;
        const moves = {
            "+": [middle - half / 2, middle + half / 2], "=": [middle - half / 2, middle + half / 2],
            "-": [middle - half * 2, middle + half * 2],
            "ArrowLeft": [low - half / 2, high - half / 2], "ArrowRight": [low + half / 2, high + half / 2],
        };
        if (event.key === "0") { window.Plotly.relayout(plot, { "xaxis.autorange": true }); }
        else if (moves[event.key]) {
            const ends = moves[event.key];
            window.Plotly.relayout(plot, { "xaxis.range[0]": ends[0], "xaxis.range[1]": ends[1] });
        } else { return; }
        event.preventDefault();
    });

    window.dash_clientside = window.dash_clientside || {};
    window.dash_clientside.gradlens = {
        theme, control, until, zoom, unzoom, zoomed: zoomText, flip, pause, tabled, address, tableToAddress, quickFilter,
        told: (told, view) => {
            window.gradlensTold = told;
            return { runs: (told && told.runs) || "", cursor: (view && view.cursor) || null };
        },
    };
    window.gradlensAddress = { fields, changed };  // for handles.js
    window.dashMantineFunctions = window.dashMantineFunctions || {};
    window.dashMantineFunctions.withUnit = (value, options) => `${value}${options.unit}`;
})();
