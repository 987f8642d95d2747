// Answers stay in this browser; the person saves them as a file at the end (`python -m eval.study import`).
// STUDY, in front of this text: {identity, consent, folder, booklets: [[[left, right, question], …], …]}.
"use strict";

const backend = (() => {
  const store = `preference study ${STUDY.identity}`;
  let person = null; // {rater, booklet, answers: [{position, choice, milliseconds}]}

  const name = number => `${STUDY.folder}/${String(number).padStart(5, "0")}.png`;

  function read() { // also after another tab of this browser has answered
    try {
      const kept = JSON.parse(localStorage.getItem(store));
      if (kept && Array.isArray(kept.answers)) person = kept;
    } catch { /* nothing kept, or no storage: the answers live as long as the page */ }
  }

  function keep() {
    try { localStorage.setItem(store, JSON.stringify(person)); } catch { /* as above */ }
  }

  function state() {
    const questions = STUDY.booklets[person.booklet], position = person.answers.length;
    const seen = { position, length: questions.length };
    if (position === questions.length) return seen;
    const [left, right, question] = questions[position];
    const next = (questions[position + 1] || []).slice(0, 2).map(name);
    return { ...seen, question, left: name(left), right: name(right), next };
  }

  const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, "0"));

  return {
    about: async () => ({ length: STUDY.booklets[0].length, consent: STUDY.consent }),
    async resume() {
      read();
      return person ? state() : null;
    },
    async start() {
      const asked = Number(new URLSearchParams(location.search).get("booklet") ?? NaN);
      const number = Number.isInteger(asked) ? asked : Math.floor(Math.random() * STUDY.booklets.length);
      const count = STUDY.booklets.length;
      person = { rater: random().join(""), booklet: ((number % count) + count) % count, answers: [] };
      keep();
      return state();
    },
    async answer(position, choice, milliseconds) {
      read();
      if (position === person.answers.length) person.answers.push({ position, choice, milliseconds });
      keep();
      return state();
    },
    forget() {
      person = null;
      try { localStorage.removeItem(store); } catch { /* nothing was kept */ }
    },
    link: null,
    file() {
      const text = JSON.stringify({ study: STUDY.identity, ...person });
      return { address: `data:application/json;charset=utf-8,${encodeURIComponent(text)}`, name: `answers-${person.rater}.json` };
    },
  };
})();
