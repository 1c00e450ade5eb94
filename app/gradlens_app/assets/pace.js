// A clock asks again only once its last question is answered, or has had no answer for long: see pace.py.
(function () {
    "use strict";
    // The second is how old a page may be when a server is back, and the longest that a server may take and be heard.
    const FIRST_MS = 10000, LATER_MS = 20000;
    const waits = {};

    function pace(...given) {
        const [tick, answered, id] = given.slice(-3);
        const asking = window.dash_clientside.callback_context.triggered;
        const isClock = asking.every((one) => one.prop_id.endsWith(".n_intervals"));
        if (isClock && given[0] === 1 && asking[0].value === 1) { delete waits[id]; }  // of an earlier visit to this page
        if (tick === answered || !isClock) {
            delete waits[id];
            return tick + 1;
        }
        const now = Date.now(), wait = waits[id] || (waits[id] = { tick: tick, until: now + FIRST_MS });
        if (wait.tick !== tick) {
            Object.assign(wait, { tick: tick, until: now + LATER_MS });
        } else if (now >= wait.until) {  // the answer is lost, or takes longer still
            return tick + 1;
        }
        return window.dash_clientside.no_update;
    }

    window.dash_clientside = window.dash_clientside || {};
    window.dash_clientside.gradlens = Object.assign(window.dash_clientside.gradlens || {}, { pace });
})();
