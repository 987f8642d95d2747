// Answers go to the server of this page (eval/study/server.py). A request is repeated until the server has
// confirmed it; the server counts an answer once, however often it arrives.
"use strict";

const backend = (() => {
  const FIRST_WAIT = 500, LONGEST_WAIT = 8000; // milliseconds between attempts
  const store = "preference study";
  let token = null;

  const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));

  async function call(address, body) {
    const options = body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    };
    for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      let answer = null;
      try {
        answer = await fetch(address, { cache: "no-store", ...options });
      } catch { /* no connection */ }
      if (answer && answer.status < 500) {
        document.getElementById("trouble").textContent = "";
        const content = await answer.json();
        if (!answer.ok) throw Object.assign(new Error(content.error), { status: answer.status });
        return content;
      }
      document.getElementById("trouble").textContent = "No connection; trying again. Your answers are kept.";
      await pause(wait);
    }
  }

  function remember(found) {
    token = found;
    try { localStorage.setItem(store, token); } catch { /* private mode: the link has it */ }
    history.replaceState(null, "", `/s/${token}`);
  }

  function recall() {
    const named = location.pathname.match(/^\/s\/([\w-]+)$/);
    if (named) return named[1];
    try { return localStorage.getItem(store); } catch { return null; }
  }

  return {
    about: () => call("/api/about"),
    async resume() {
      const found = recall();
      if (!found) return null;
      try {
        const state = await call(`/api/answers/${found}`);
        remember(found);
        return state;
      } catch (error) {
        if (error.status !== 404 || location.pathname.startsWith("/s/")) throw error;
        this.forget(); // the token of another study
        return null;
      }
    },
    async start() {
      const found = await call("/api/start", { consent: true });
      remember(found.token);
      return found.state;
    },
    answer: (position, choice, milliseconds) => call(`/api/answers/${token}`, { position, choice, milliseconds }),
    forget() {
      token = null;
      try { localStorage.removeItem(store); } catch { /* nothing was kept */ }
      history.replaceState(null, "", "/");
    },
    link: () => `${location.origin}/s/${token}`,
    file: null,
  };
})();
