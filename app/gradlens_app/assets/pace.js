// A clock asks again only once its last question is answered, or has had no answer for long: see pace.py.
(function () {
    "use strict";
    const FIRST_MS = 10000, MOST_MS = 60000;
    const waits = {};

    function pace(...given) {
        const [tick, answered, id] = given.slice(-3);
        if (tick === answered) {
            delete waits[id];
            return tick + 1;
        }
        const now = Date.now(), wait = waits[id];
        if (!wait) {
            waits[id] = { tick: tick, until: now + FIRST_MS, most: FIRST_MS };
        } else if (wait.tick !== tick) {  // another page, or asked since
            wait.tick = tick;
            wait.until = now + wait.most;
        } else if (now >= wait.until) {  // the answer is lost, or takes longer still
            wait.most = Math.min(2 * wait.most, MOST_MS);
            return tick + 1;
        }
        return window.dash_clientside.no_update;
    }

    window.dash_clientside = window.dash_clientside || {};
    window.dash_clientside.gradlens = Object.assign(window.dash_clientside.gradlens || {}, { pace });
})();
