// What the browser does by itself: the address holds the whole state, and the pointer of one chart is that of all.
(function () {
    "use strict";
    const ours = (window.gradlens = window.gradlens || {});
    const same = () => window.dash_clientside.no_update;
    const fields = () => new URLSearchParams(window.location.search);

    // URLSearchParams would write a comma as %2C; the address is read by people too.
    function written(given) {
        const text = given.toString().replace(/%2C/g, ",").replace(/%3A/g, ":");
        return text ? "?" + text : "";
    }

    // Whatever the order of the fields, which says nothing.
    function isHere(given) {
        const [asked, here] = [given, fields()].map((each) => {
            const ordered = new URLSearchParams(each);
            ordered.sort();
            return ordered.toString();
        });
        return asked === here;
    }

    function changed(given) { return isHere(given) ? same() : written(given); }

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

    function isTheme(text) { return text === "dark" || text === "light"; }

    // The address says the theme once the reader has chosen one here, or came by a link that holds it.
    function theme(clicks) {
        const given = fields(), kept = stored("gradlens-theme");
        let now = [given.get("theme"), kept].find(isTheme)
            || (window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
        if (clicks) {
            now = now === "dark" ? "light" : "dark";
            try { window.localStorage.setItem("gradlens-theme", now); } catch (error) { /* a private window */ }
            given.set("theme", now);
            rewrite(given);
        }
        document.documentElement.dataset.agThemeMode = now;
        return [now, now, now === "dark" ? "Light theme" : "Dark theme"];
    }

    // Another address without a stop in the history.
    function rewrite(given) {
        if (!isHere(given)) {
            window.history.replaceState(null, "", window.location.pathname + written(given));
        }
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
        rewrite(given);
        return sliders[place];
    }

    function domId(id) { return JSON.stringify(id, Object.keys(id).sort()); }

    // What Plotly tells of a chart whose axes the reader has moved.
    function zoom(moved, plot) {
        const given = fields();
        const ends = [moved["xaxis.range[0]"], moved["xaxis.range[1]"]];
        if (moved["xaxis.autorange"]) { given.delete("zoom"); }
        else if (ends.every((end) => Number.isFinite(end))) { zoomed(given, ends, plot._fullLayout.xaxis.type === "log"); }
        go(given);
    }

    function go(given) {
        const search = changed(given);
        if (search !== same()) { window.dash_clientside.set_props("go", { search: search }); }
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

    function pause(clicks) {
        if (!clicks) { return same(); }
        const given = fields();
        if (given.get("live") === "off") { given.delete("live"); } else { given.set("live", "off"); }
        return changed(given);
    }

    // Runs, clock and comparison go along to the other pages; what is a page's own stays behind.
    const CARRIED = ["runs", "x", "smooth", "group", "baseline", "live", "theme"];

    // A control that another choice makes idle is not there.
    function idle(given) {
        for (const place of document.querySelectorAll("[data-when]")) {
            const now = given.get(place.dataset.when) || place.dataset.default;
            place.classList.toggle("hidden", now !== place.dataset.is);
        }
    }

    function address(search, path, _theme, ids, prefix) {
        idle(new URLSearchParams(search || ""));
        const given = fields();
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

    // Until the server has said how the table is to be after Back or Forward, it is as at another address. Dash lets this
    // be asked meanwhile, where what waits for each other looks like a circle. An answer that takes this long is lost.
    const LOST_MS = 10000;

    function isAwaited(asked, restored) {
        if (restored && restored.at === asked.at) { return false; }
        return !asked.at || Date.now() - asked.at < LOST_MS;
    }

    // A text field that is set twice while it waits for more letters goes back to the first text, which nobody wrote.
    let isWritten = true;
    document.addEventListener("input", (event) => { isWritten = isWritten || event.target.id === "find"; }, true);

    function sought(find, given) {
        const text = (isWritten ? find : given.get("find")) || "";
        if (text !== (find || "")) { window.dash_clientside.set_props("find", { value: text }); }
        return text;
    }

    // The table's state in the address, once it has taken over what the address said.
    function tableToAddress(selected, find, columns, baseline, state, filters, restored, asked) {
        if (!asked || pageName() || !triggered() || isAwaited(asked, restored)) { return same(); }
        const given = fields();
        const put = (name, text) => { if (text) { given.set(name, text); } else { given.delete(name); } };
        if (Array.isArray(selected)) { put("runs", selected.map((row) => row.key).join(",")); }
        put("find", sought(find, given));
        put("columns", columns && columns.length ? asText(columns) : "");
        put("baseline", baseline);
        const sorted = (state || []).filter((column) => column.sort).sort((a, b) => a.sortIndex - b.sortIndex);
        put("sort", asText(sorted.map((column) => `${column.colId}:${column.sort}`)));
        put("filter", filters && Object.keys(filters).length ? JSON.stringify(filters) : "");
        return changed(given);
    }

    // Back and Forward among the states of the table: it takes over what the address says, as when it came.
    window.addEventListener("popstate", () => {
        if (document.getElementById("run-table") && !pageName()) {
            isWritten = false;
            window.dash_clientside.set_props("asked", { data: { search: window.location.search, at: Date.now() } });
        }
    });

    // The baseline stays on top however the others are sorted.
    function quickFilter(find, rows, baseline, options) {
        const pinned = (rows || []).filter((row) => row.key === baseline);
        return Object.assign({}, options, { quickFilterText: find || "", pinnedTopRowData: pinned });
    }

    // ---- clicks and keys --------------------------------------------------------------------------------------------

    // The address, with the runs that were chosen for the reader.
    function withRuns() {
        const given = fields();
        const told = window.gradlensTold || {};
        if (!given.has("runs") && told.runs) { given.set("runs", told.runs); }
        return given;
    }

    function saveLink(link) {
        const given = withRuns();
        if (link.dataset.chart) { given.set("chart", link.dataset.chart); }
        link.href = beside(`export/${pageName()}.${link.dataset.form}`, given);
    }

    function parts() {
        const path = window.location.pathname.replace(/\/$/, "");
        const at = path.lastIndexOf("/") + 1;
        return [path.slice(0, at), path.slice(at)];
    }

    function pageName() { return parts()[1]; }

    // An address beside that of the page.
    function beside(path, given) { return parts()[0] + path + written(given); }

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

    function copyLink(button) {
        const given = withRuns();
        given.set("theme", document.documentElement.dataset.agThemeMode);
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

    Object.assign(ours, { beside, fields, go, pageName, zoom });
    window.dash_clientside = window.dash_clientside || {};
    window.dash_clientside.gradlens = Object.assign(window.dash_clientside.gradlens || {}, {
        theme, control, until, unzoom, zoomed: zoomText, pause, address, tableToAddress, quickFilter,
        told: (told, view) => {
            window.gradlensTold = told;
            return { runs: (told && told.runs) || "", cursor: (view && view.cursor) || null, search: view && view.search };
        },
    });
    window.dashMantineFunctions = window.dashMantineFunctions || {};
    window.dashMantineFunctions.withUnit = (value, options) => `${value}${options.unit}`;
})();
