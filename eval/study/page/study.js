// One question at a time. `backend` (server.js or offline.js) keeps the answers; this file only shows them.
//   backend.about()  -> {length, consent}
//   backend.resume() -> state of the person of this browser or link, or null
//   backend.start()  -> state of a new person
//   backend.answer(position, choice, milliseconds) -> state after it
//   backend.forget() lets another person begin; backend.link, backend.file: how to go on, what to save; or null
// A state is {position, length, question, left, right, next}, with addresses of pictures; at the end position = length.
"use strict";

const find = id => document.getElementById(id);
const SMALL = 128; // pixels; smaller pictures are enlarged without smoothing
let state = null, shownAt = 0, ready = false;

function only(id) {
  for (const name of ["welcome", "pair", "done"]) find(name).hidden = name !== id;
}

async function attempt(task) {
  try {
    find("trouble").textContent = "";
    await task();
  } catch (error) {
    find("trouble").textContent = error.message;
  }
}

async function load(image, address) {
  image.src = address;
  await image.decode();
  image.classList.toggle("small", image.naturalWidth < SMALL);
}

async function show(next) {
  state = next;
  ready = false;
  if (state.position === state.length) {
    only("done");
    find("question").textContent = "That was the last pair.";
    const file = backend.file && backend.file();
    if (file) {
      find("thanks").textContent = "Thank you. Save the answers and send the file to the people who asked you.";
      Object.assign(find("save"), { hidden: false, href: file.address, download: file.name });
    }
    return;
  }
  only("pair");
  find("question").textContent = state.question;
  find("place").textContent = `${state.position + 1} of ${state.length}`;
  Object.assign(find("progress"), { value: state.position, max: state.length });
  if (backend.link) {
    find("resume").hidden = false;
    Object.assign(find("link"), { href: backend.link(), textContent: backend.link() });
  }
  find("pictures").classList.add("waiting");
  await Promise.all([load(find("left-image"), state.left), load(find("right-image"), state.right)]);
  find("pictures").classList.remove("waiting");
  for (const address of state.next) new Image().src = address; // in the cache for the next question
  document.activeElement.blur(); // a key that is held down would press the button again
  shownAt = performance.now();
  ready = true;
}

function choose(choice) {
  if (!ready) return; // pictures are loading, or the answer is on its way
  ready = false;
  const took = Math.round(performance.now() - shownAt);
  attempt(async () => show(await backend.answer(state.position, choice, took)));
}

async function begin() {
  const known = await backend.resume();
  if (known) return show(known);
  const about = await backend.about();
  find("count").textContent = about.length;
  find("consent").textContent = about.consent;
  only("welcome");
}

find("start").addEventListener("click", () => {
  find("start").disabled = true;
  attempt(async () => show(await backend.start())).finally(() => { find("start").disabled = false; });
});
find("left").addEventListener("click", () => choose("left"));
find("right").addEventListener("click", () => choose("right"));
find("another").addEventListener("click", () => attempt(async () => { backend.forget(); await begin(); }));
document.addEventListener("keydown", event => {
  if (event.repeat || event.altKey || event.ctrlKey || event.metaKey || find("pair").hidden) return;
  const choice = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
  if (choice) {
    event.preventDefault();
    choose(choice);
  }
});
// The back button may bring back an old copy of this page: ask again where the person is.
window.addEventListener("pageshow", event => { if (event.persisted) attempt(begin); });
attempt(begin);
