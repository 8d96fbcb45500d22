"use strict";
// What all panels share: the data, the selection, elements that hold text as text, and plots that wait until seen.
const panels = [];
const marks = { good: "✓", bad: "✗", open: "?" };
const spoken = { good: "good", bad: "not good", open: "open" };
const symbols = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross"];
const shapes = ["●", "■", "◆", "▲", "▼", "✚"];
// Okabe and Ito's colours, lighter on a dark ground; the symbols say the same without colour.
const colours = {
  light: ["#b87a00", "#009e73", "#0072b2", "#b65c8f", "#d55e00", "#3a94cc"],
  dark: ["#f0b840", "#2fc79a", "#5cb8f0", "#e79cc2", "#ff8552", "#9ad7f5"],
};
const root = document.documentElement;
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let data = null;
let floats = new Float32Array(0);

// The selection, which is also the fragment of the address.
const defaults = { hide: "", without: "", layer: "", pair: "", scale: "", at: "1", theme: "" };
const state = { ...defaults };
const list = (text) => (text ? text.split("\u001f") : []);
const isShown = (width) => !list(state.hide).includes(String(width));
const hasRecipe = (recipe) => !list(state.without).includes(recipe);

function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  for (const name in defaults) state[name] = found.get(name) ?? defaults[name];
  if (!["light", "dark"].includes(state.theme)) state.theme = "";
}

function select(changes) {
  Object.assign(state, changes);
  const found = new URLSearchParams();
  for (const name in defaults) if (state[name] !== defaults[name]) found.set(name, state[name]);
  history.replaceState(null, "", "#" + found);
  redraw();
}

function toggle(name, value) {
  const some = list(state[name]);
  select({ [name]: (some.includes(value) ? some.filter((one) => one !== value) : [...some, value]).join("\u001f") });
}

// Strings become text nodes: whatever they hold is shown as text.
function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || (value === false && !name.startsWith("aria-"))) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
  }
  element.append(...children.flat(9).filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}

// 2^-5 and m^0.5 with raised exponents.
function rich(text) {
  const found = [];
  let last = 0;
  text = minus(text);
  for (const match of text.matchAll(/\b([2m])\^([-+−]?\d+(?:\.\d+)?)/g)) {
    found.push(text.slice(last, match.index) + match[1], h("sup", {}, match[2].replace("-", "−")));
    last = match.index + match[0].length;
  }
  return [...found, text.slice(last)];
}

// A minus before a number, but not in a command.
const minus = (text) => text.replace(/(^|[\s[(,])-(?=\d)/g, "$1−");
const commands = (text) => text.split(/(mupwd (?:plan|sweep|check|report)[^;…]*)/).map((part, index) => (index % 2 ? h("code", {}, part.trim()) : rich(part)));

const sign = (mark) => h("span", { class: "sign", role: "img", "aria-label": spoken[mark] }, marks[mark]);
const said = (one, tag = "li") => h(tag, { class: one.mark }, sign(one.mark), rich(one.text));
const note = (text) => h("p", { class: "note" }, rich(text));

function table(heads, rows) {
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows)));
}
const row = (cells, properties) => h("tr", properties, cells.map((cell, index) =>
  cell instanceof Node && (cell.tagName === "TD" || cell.tagName === "TH") ? cell
    : index === 0 ? h("th", { scope: "row" }, cell) : h("td", {}, cell)));

const theme = () => root.dataset.theme || (prefersDark.matches ? "dark" : "light");
const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const rank = (width) => data.widths.indexOf(width);
const colour = (width) => colours[theme()][rank(width) % colours.light.length];
// The seventh width has the first one's colour, and another shape.
const shape = (width) => (rank(width) + Math.floor(rank(width) / 6)) % symbols.length;
const symbol = (width) => symbols[shape(width)];
const widthName = (width) => (width ? "width " + width : "width unknown");
const power = (x) => "2<sup>" + String(Math.round(x * 100) / 100).replace("-", "−") + "</sup>";
// Plotly reads some HTML in texts.
const plain = (text) => (text.length > 70 ? text.slice(0, 34) + " … " + text.slice(-34) : text)
  .replace(/\s+/g, " ").replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/%\{/g, "% {");
const short = (value) => (!Number.isFinite(value) ? "–" : String(Number(value.toPrecision(3))).replace("-", "−"));
const fixed = (value) => (!Number.isFinite(value) ? "–" : value.toFixed(2).replace(/^-(?=0\.00$)/, "").replace("-", "−"));
const between = (interval) => (Array.isArray(interval) ? "[" + interval.map(fixed).join(", ") + "]" : "–");
// The second line of a plot's title.
const under = (text) => "<br><span style='font-size:" + (innerWidth >= 2200 ? 14 : 11) + "px'>" + text + "</span>";
const raised = (text) => text.replace(/\b([2m])\^([-+−]?\d+(?:\.\d+)?)/g, (_, base, power) => base + "<sup>" + power.replace("-", "−") + "</sup>");
const pairTitle = (pair) => raised(plain(pairWords(pair)));
const series = (reference) => floats.subarray(reference[0], reference[0] + reference[1]);

async function unpack(numbers) {
  const text = atob(numbers.planes), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = numbers.count, words = new Uint8Array(4 * count);
  for (let plane = 0; plane < 4; plane++)
    for (let i = 0, from = plane * count; i < count; i++) words[4 * i + plane] = planes[from + i];
  return new Float32Array(words.buffer);
}

// A plot is drawn when it comes near the view, and again when the selection has changed since.
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.near = entry.isIntersecting;
    if (entry.isIntersecting) drawPlot(entry.target);
  }
}, { rootMargin: "400px" });

// What cannot be drawn, for whatever is in the files, costs itself alone.
function guarded(what, make) {
  try {
    return make();
  } catch (error) {
    return [note("This " + what + " cannot be drawn: " + error.message + ".")];
  }
}

function plot(name, make, height) {
  const element = h("div", { class: "plot", "data-plot": name, style: height && "height:" + height + "px" });
  element.make = make;
  element.stale = true;
  near.observe(element);
  return element;
}

function drawPlot(element) {
  if (!element.stale) return;
  element.stale = false;
  const failed = guarded("plot", () => {
    const { traces, layout } = element.make();
    Plotly.react(element, traces, framed(layout, traces), { responsive: true, displaylogo: false, displayModeBar: false });
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", layout.title.text.replace(/<[^>]*>/g, " "));
  });
  if (failed) {
    if (element.data) Plotly.purge(element);
    element.replaceChildren(...failed);
  }
}

// Within a decade a label at every few tenths; beyond it at 1, 2 and 5, or at the powers of ten.
function logTicks(traces) {
  const values = traces.flatMap((trace) => Array.from(trace.y)).filter((value) => value > 0 && Number.isFinite(value));
  const decades = values.length ? Math.log10(values.reduce((a, b) => Math.max(a, b)) / values.reduce((a, b) => Math.min(a, b))) : 0;
  return decades < 0.9 ? 6 : 3;
}

function framed(layout, traces) {
  const line = css("--line"), axis = { gridcolor: line, linecolor: line, zeroline: false, exponentformat: "power" };
  return {
    margin: { l: 64, r: 14, t: 50, b: 48 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--text"), size: innerWidth >= 2200 ? 16 : 12, family: getComputedStyle(document.body).fontFamily },
    // A zoom outlives new data, and not another choice.
    showlegend: false, hovermode: "closest", uirevision: [state.hide, state.without, state.layer, state.pair, state.scale].join(" "), ...layout,
    title: { font: { size: innerWidth >= 2200 ? 18 : 14 }, x: 0.02, xanchor: "left", ...layout.title },
    xaxis: { ...axis, exponentformat: "SI", ...layout.xaxis }, yaxis: { ...axis, ...(layout.yaxis?.type === "log" ? { nticks: logTicks(traces) } : {}), ...layout.yaxis },
  };
}

// A line against step; where a value is not finite the line breaks and a cross says so.
function lines(run, steps, values, more, scale = 1) {
  const x = Array.from(steps), y = Array.from(values, (value) => (Number.isFinite(value) ? value * scale : null));
  const found = [{
    x, y, mode: "lines+markers", line: { color: colour(run.width), width: 1.6, dash: more.dash || "solid" },
    marker: { color: colour(run.width), size: 7, symbol: symbol(run.width), maxdisplayed: 12 },
    hovertemplate: plain(run.recipe) + (run.recipe && ", ") + widthName(run.width) + ", seed " + run.seed + ": %{y:.4g} at step %{x}<extra></extra>", ...more.trace,
  }];
  const gone = x.map((_, i) => i).filter((i) => y[i] === null);
  if (gone.length) {
    let last = y.find((value) => value !== null) ?? 1;
    const at = y.map((value) => (last = value ?? last));
    found.push({
      x: gone.map((i) => x[i]), y: gone.map((i) => at[i]), mode: "markers", text: gone.map((i) => String(values[i])),
      marker: { symbol: "x", size: 9, color: css("--bad") }, hovertemplate: widthName(run.width) + ": %{text} at step %{x}<extra></extra>",
    });
  }
  return found;
}

// Few labels, each a whole number: "0.005", not a small "5" between powers of ten.
const logarithmic = { type: "log", tickformat: "~g" };
const lossName = () => (data.unit ? "loss (" + data.unit + ")" : "loss");
const shownRecipes = () => data.recipes.filter(hasRecipe);
const runsOf = (recipe, pair) => data.runs.map((run, number) => ({ ...run, number }))
  .filter((run) => run.recipe === recipe && isShown(run.width) && (!pair || run.pair === pair));
