// The selection's bar, the panels, and new data while runs write.
const pairsOf = (recipe) => [...new Set(data.runs.filter((run) => run.recipe === recipe && run.pair && run.drawn).map((run) => run.pair))];

// The pair whose runs are drawn: the chosen one where the recipe has it, else the tuned one, else that of the most widths.
function chosenPair(recipe) {
  const pairs = pairsOf(recipe);
  if (pairs.includes(state.pair)) return state.pair;
  const tuned = data.loss.map((group) => group.pairs[recipe]).find((pair) => pairs.includes(pair));
  if (tuned) return tuned;
  const widths = (pair) => new Set(data.runs.filter((run) => run.recipe === recipe && run.pair === pair).map((run) => run.width)).size;
  return pairs.sort((a, b) => widths(b) - widths(a))[0] || "";
}

function pairWords(pair) {
  if (!pair) return "all runs";
  const [rate, decay] = pair.split(",").map(Number);
  const words = (value) => (value > 0 && Number.isInteger(Math.log2(value)) ? "2^" + Math.log2(value) : String(value));
  return "learning rate " + words(rate) + ", weight decay " + (Number.isNaN(decay) ? "not given" : words(decay));
}

const layerNames = () => data.spectra.layers.flatMap((one) => [one.name, ...one.members]);
const chosenLayer = () => (layerNames().includes(state.layer) ? state.layer : data.spectra.layers[0]?.name || "");
const isGain = (layer) => data.spectra.layers.some((one) => one.what === "gain" && (one.name === layer || one.members.includes(layer)));

function buildBar() {
  const bar = document.getElementById("bar");
  const focused = document.activeElement?.dataset?.key;
  const toggleButton = (name, value, shown, ...children) => h("button", {
    type: "button", class: "toggle", "aria-pressed": shown, "data-key": name + value, title: value.slice(0, 500), onclick: () => toggle(name, value),
  }, children);
  const parts = [];
  if (data.widths.length) parts.push(h("div", { class: "group", role: "group", "aria-label": "widths shown" }, data.widths.map((width) => {
    const button = toggleButton("hide", String(width), isShown(width), h("span", { style: "color:" + colour(width) }, shapes[shape(width)] + " "), widthName(width));
    button.dataset.width = width;
    button.style.borderColor = colour(width);
    return button;
  })));
  if (data.recipes.length > 1) parts.push(h("div", { class: "group", role: "group", "aria-label": "recipes shown" },
    data.recipes.map((recipe) => toggleButton("without", recipe, hasRecipe(recipe), recipe.slice(0, 60)))));
  const choice = (label, name, value, options) => h("label", {}, label, h("select", {
    "data-key": name, "aria-label": label, onchange: (event) => select({ [name]: event.target.value }),
  }, options));
  const option = (value, text, chosen) => h("option", { value, selected: value === chosen }, text);
  if (data.spectra.layers.length) {
    const group = (what, label) => data.spectra.layers.filter((one) => one.what === what).flatMap((one) => h("optgroup", { label: label + (one.members.length ? ", " + one.members.length + " of a kind" : "") },
      option(one.name, one.name.slice(0, 200) + (one.members.length > 1 ? " (mean)" : ""), chosenLayer()), one.members.map((name) => option(name, name.slice(0, 200), chosenLayer()))));
    parts.push(choice("layer", "layer", chosenLayer(), [...group("matrix", "matrix"), ...group("gain", "gain of a sublayer")]));
  }
  const pairs = [...new Set(data.recipes.flatMap(pairsOf))];
  if (pairs.length > 1) parts.push(choice("pair", "pair", state.pair, [option("", data.loss.length ? "tuned" : "of the most widths", state.pair), ...pairs.map((pair) => option(pair, pairWords(pair), state.pair))]));
  bar.replaceChildren(...parts);
  if (focused) [...bar.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus();
}

const headingOf = (one) => { let at = one; while (at && at.tagName !== "H3") at = at.previousElementSibling; return at ? at.textContent : ""; };

// Plots of one name are told apart by their order.
function plotsByName(main) {
  const found = new Map();
  for (const element of main.querySelectorAll(".plot")) {
    let number = 0;
    while (found.has(element.dataset.plot + number)) number++;
    found.set(element.dataset.plot + number, element);
  }
  return found;
}

function redraw() {
  root.dataset.theme = state.theme;
  if (!state.theme) delete root.dataset.theme;
  buildBar();
  const main = document.getElementById("panels");
  const focused = document.activeElement?.dataset?.key;
  const details = () => [...main.querySelectorAll("section")].flatMap((section) => [...section.querySelectorAll("details")].map((one) => [section.id + headingOf(one) + one.querySelector("summary").textContent, one]));
  const open = new Set(details().filter(([, one]) => one.open).map(([key]) => key));
  const before = plotsByName(main);
  main.style.minHeight = main.offsetHeight + "px";
  main.replaceChildren(...panels.map((panel, index) => h("section", { id: "panel-" + panel.id, "aria-labelledby": "title-" + panel.id },
    h("h2", { id: "title-" + panel.id }, index + 1 + ". " + panel.title), panel.note ? note(panel.note) : null, guarded("panel", panel.build))));
  for (const [key, one] of details()) one.open = open.has(key);
  // A plot that was there before is drawn anew where it stands in the new panels, with its zoom.
  for (const [name, element] of plotsByName(main)) {
    const old = before.get(name);
    if (!old?.data) continue;
    before.delete(name);
    near.unobserve(element);
    Object.assign(old, { make: element.make, stale: true });
    old.style.height = element.style.height;
    element.replaceWith(old);
    if (old.near) drawPlot(old);
  }
  for (const element of before.values()) { near.unobserve(element); if (element.data) Plotly.purge(element); }
  main.style.minHeight = "";
  if (focused) [...main.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus({ preventScroll: true });
}

async function mupwdUpdate(payload) {
  try {
    floats = await unpack(payload.numbers);
  } catch (error) {
    document.getElementById("panels").replaceChildren(note("This browser cannot unpack the page's numbers (" + error.message + "): Chromium 80, Firefox 113, Safari 16.4 or later can."));
    return;
  }
  // A slider that is being dragged stays under the pointer.
  while (document.querySelector("input:active")) await new Promise((resolve) => setTimeout(resolve, 200));
  data = payload;
  document.title = document.getElementById("title").textContent = data.title;
  redraw();
  root.dataset.ready = "1";
}
window.mupwdUpdate = mupwdUpdate;

document.getElementById("theme").addEventListener("click", () => select({ theme: theme() === "dark" ? "light" : "dark" }));
prefersDark.addEventListener("change", () => data && redraw());
addEventListener("hashchange", () => { readAddress(); if (data) redraw(); });
addEventListener("keydown", (event) => {
  const step = { "[": -1, "]": 1 }[event.key];
  // Many keyboards type brackets with AltGr, which some systems report as Ctrl and Alt.
  if (!step || !data || event.metaKey || (event.ctrlKey && !event.getModifierState("AltGraph")) || /INPUT|SELECT/.test(event.target.tagName) || !data.spectra.layers.length) return;
  const names = layerNames(), at = names.indexOf(chosenLayer());
  select({ layer: names[(at + step + names.length) % names.length] });
});
// On paper: light, and all of it.
addEventListener("beforeprint", () => {
  root.dataset.theme = "light";
  buildBar();
  for (const element of document.querySelectorAll(".plot")) { element.stale = true; drawPlot(element); }
});
addEventListener("afterprint", () => redraw());

readAddress();
mupwdUpdate(JSON.parse(document.getElementById("data").textContent));
