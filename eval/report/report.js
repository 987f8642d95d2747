"use strict";
const details = JSON.parse(document.getElementById("details").textContent);
const dialog = document.getElementById("detail"), title = document.getElementById("detail-title"), body = document.getElementById("detail-body");

// element("p", "text") or element("p", [children], {attribute: value})
function element(name, content = [], attributes = {}) {
  const made = document.createElement(name);
  made.append(...(Array.isArray(content) ? content : [content]));
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// ---- light and dark ----
const theme = document.getElementById("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
function showTheme(chosen) {
  document.documentElement.dataset.theme = chosen;
  theme.textContent = chosen === "dark" ? "Light mode" : "Dark mode";
}
let kept = null;
try { kept = localStorage.getItem("theme"); } catch { /* a file without storage */ }
showTheme(kept || (dark.matches ? "dark" : "light"));
theme.hidden = false;
theme.addEventListener("click", () => {
  showTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* as above */ }
});

// ---- tables: sort by a column, filter by words ----
function valueOf(row, column) {
  const cell = row.cells[column], text = cell.textContent.trim();
  const number = parseFloat(cell.dataset.value ?? text.replaceAll(",", ""));
  return Number.isNaN(number) ? text : number;
}
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return typeof a === typeof b ? a.localeCompare(b) : typeof a === "number" ? -1 : 1;  // texts such as – come last
}
function sort(table, head) {
  const down = head.ariaSort === "ascending", column = head.cellIndex, rows = [...table.tBodies[0].rows];
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  rows.sort((a, b) => (down ? -1 : 1) * compare(valueOf(a, column), valueOf(b, column)));
  table.tBodies[0].append(...rows);
}
for (const table of document.querySelectorAll("table[data-sortable]")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = element("button", [...head.childNodes], { type: "button" });
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
  }
  if (table.dataset.filter === undefined) continue;
  const input = element("input", [], { type: "search", placeholder: "words" });
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  table.parentElement.before(element("label", ["Show rows with", input], { class: "filter" }));
}

// ---- what a number opens ----
function open(heading, children) {
  title.textContent = heading;
  body.replaceChildren(...children);
  dialog.showModal();
}
function pairs(entries) {
  return entries.map(([name, value]) => element("tr", [element("th", name, { scope: "row" }), element("td", [element("code", String(value))], { class: "prose" })]));
}
function box(label, rows, heads) {
  const table = element("table", [element("tbody", rows)]);
  if (heads) table.prepend(element("thead", [element("tr", heads.map((name) => element("th", name, { scope: "col" })))]));
  return element("div", [table], { class: "scroll", tabindex: "0", role: "region", "aria-label": label });
}
function fold(label, content) {
  return element("details", [element("summary", label), content]);
}
function bySeed(values, seeds, clicked) {
  return Object.entries(values).map(([name, found]) => {
    const heading = details.columns[name] ?? name;
    const cells = seeds.map((seed) => element("td", seed in found ? String(found[seed]) : "–"));
    return element("tr", [element("th", name === clicked ? [element("b", heading)] : heading, { scope: "row" }), ...cells]);
  });
}
function run(one) {
  const rows = [["run", one.id], ["parent run", one.parent ?? "none"], ["code digest", one.code], ["commit", one.commit ?? "–"],
    ["device, torch", `${one.device}, ${one.torch}`], ["seconds", one.seconds], ["images seen", one.images_seen], ["CLIP calls", one.clip_calls],
    ["peak memory (MB)", one.memory_mb ?? "–"], ["training images (indices)", one.few_shot ? one.few_shot.join(", ") : "none"],
    ...Object.entries(one.outputs).map(([file, hash]) => [`SHA-256 of ${file}`, hash])];
  return fold(`Run of seed ${one.seed}`, box(`Run of seed ${one.seed}`, pairs(rows)));
}
function picture(strip, place, label, large = false) {
  return element("button", [], { type: "button", class: `pic s${strip}${large ? " large" : ""}`, style: `--i:${place}`, "aria-label": label, title: label });
}
function showCondition(number, column) {
  const one = details.conditions[number], [task] = one.key;
  const seeds = [...new Set(Object.values({ ...one.values, ...one.others }).flatMap(Object.keys))].sort((a, b) => a - b);
  const word = one.real ? "half" : "seed";
  const children = [box("Values", [...bySeed(one.values, seeds, column), ...bySeed(one.others, seeds)], ["metric", ...seeds.map((seed) => `${word} ${seed}`)])];
  for (const [strip, count, psi] of one.strips) {
    const shown = Array.from({ length: count }, (_, place) => picture(strip, place, `${one.name}, ${task}, picture ${place}, truncation ${psi}`));
    children.push(element("p", `Pictures (truncation ${psi})`, { class: "caption" }), element("div", shown, { class: "strip" }));
  }
  children.push(...one.runs.filter((r) => r.id).map(run));
  if (Object.keys(one.hyperparameters).length) children.push(fold("Hyperparameters", box("Hyperparameters", pairs(Object.entries(one.hyperparameters)))));
  if (Object.keys(one.inputs).length) children.push(fold("Files that went in (SHA-256)", box("Files that went in", pairs(Object.entries(one.inputs)))));
  open(`${one.name}, ${task}`, children);
}
document.addEventListener("click", (event) => {
  const number = event.target.closest("[data-condition]"), shown = event.target.closest(".pic:not(.large)");
  if (number) showCondition(Number(number.dataset.condition), number.dataset.column);
  else if (shown) {
    const label = shown.getAttribute("aria-label");
    const large = element("div", [], { class: `${shown.className} large`, style: shown.getAttribute("style"), role: "img", "aria-label": label });
    if (!dialog.open) open(label, [large]);
    else { title.textContent = label; body.prepend(large); dialog.scrollTop = 0; }
  }
});
addEventListener("beforeprint", () => document.querySelectorAll("main details").forEach((one) => { one.open = true; }));
