// 4. Singular values and gains against width: the fitted slope of every kind of layer against the promised one.
function slopesOf(recipe) {
  const some = data.slopes.filter((one) => one.recipe === recipe), pair = chosenPair(recipe);
  return some.find((one) => one.pair === pair) || (state.pair ? null : some[0]) || null;
}

const forestHeight = (rows) => Math.max(340, 110 + 18 * rows.length);

// Slopes with their intervals, one row per kind: which one leaves its band is seen at a glance.
function forest(title, rows, axis) {
  const mark = { good: css("--good"), bad: css("--bad"), open: css("--open") };
  const signs = { good: "circle", bad: "x", open: "diamond-open" };
  const names = rows.map((one, index) => index), drawn = rows.map((one, y) => ({ ...one, y })).filter((one) => Number.isFinite(one.value));
  return {
    traces: ["good", "bad", "open"].map((kind) => {
      const some = drawn.filter((one) => one.mark === kind);
      return {
        x: some.map((one) => one.value), y: some.map((one) => one.y), mode: "markers", text: some.map((one) => plain(one.name) + ": " + fixed(one.value) + (one.interval ? " " + between(one.interval) : "") + ", " + one.verdict),
        marker: { color: mark[kind], size: 10, symbol: signs[kind] }, hovertemplate: "%{text}<extra></extra>",
        error_x: { type: "data", symmetric: false, color: mark[kind], thickness: 2, width: 4, array: some.map((one) => (one.interval?.[1] ?? one.value) - one.value), arrayminus: some.map((one) => one.value - (one.interval?.[0] ?? one.value)) },
      };
    }).filter((one) => one.x.length),
    layout: {
      title: { text: title }, xaxis: { title: { text: axis, standoff: 6 }, zeroline: true, zerolinecolor: css("--soft") },
      yaxis: { tickvals: names, ticktext: rows.map((one) => (one.quantity === "gain" ? "gain of " : "") + plain(one.name.replace(/^layers\/\*\//, "").replace(/\/kernel$/, ""))), range: [rows.length - 0.5, -0.5], automargin: true, showgrid: false },
      shapes: rows.map((one, y) => ({ ...one, y })).filter((one) => Number.isFinite(one.low)).map(({ y, ...one }) => ({ type: "rect", layer: "below", x0: one.low, x1: one.high, y0: y - 0.45, y1: y + 0.45, fillcolor: css("--band"), line: { width: 0 } })),
    },
  };
}

function widthPlot(line) {
  const traces = [], widths = Object.keys(line.values).map(Number).sort((a, b) => a - b);
  const mean = (width) => { const some = line.values[width].filter((value) => value > 0); return some.length ? Math.exp(some.reduce((sum, value) => sum + Math.log(value), 0) / some.length) : null; };
  for (const width of widths) if (isShown(width)) traces.push({
    x: line.values[width].map(() => width), y: line.values[width], mode: "markers", marker: { color: colour(width), symbol: symbol(width), size: 9 },
    hovertemplate: widthName(width) + ": %{y:.4g}<extra></extra>",
  });
  const first = mean(widths[0]), fit = (slope, anchor) => widths.map((width) => anchor * (width / widths[0]) ** slope);
  // Through the middle of the logs, where the fitted line passes as well.
  const log = widths.map((width) => [Math.log(width / widths[0]), Math.log(mean(width) ?? NaN)]).filter((one) => Number.isFinite(one[1]));
  if (line.slope !== null && log.length) {
    const x = log.reduce((sum, one) => sum + one[0], 0) / log.length, y = log.reduce((sum, one) => sum + one[1], 0) / log.length;
    traces.push({ x: widths, y: fit(line.slope, Math.exp(y - line.slope * x)), mode: "lines", line: { color: css("--text"), width: 1.8 }, hovertemplate: "fitted: m^" + short(line.slope) + "<extra></extra>" });
  }
  if (first !== null) {
    traces.push({ x: widths, y: fit(line.predicted, first), mode: "lines", line: { color: css("--soft"), width: 1.5, dash: "dash" }, hovertemplate: "theory: m^" + line.predicted + "<extra></extra>" });
    traces.push({ x: [...widths, ...[...widths].reverse()], y: [...fit(line.predicted + line.tolerance, first), ...fit(line.predicted - line.tolerance, first).reverse()], mode: "lines", fill: "toself", fillcolor: css("--band"), line: { width: 0 }, hoverinfo: "skip" });
  }
  const name = line.quantity === "gain" ? "gain" : "σ₁ · √(fan_in / fan_out)";
  return { traces, layout: {
    title: { text: (line.quantity === "gain" ? "gain of " : "") + plain(line.name) + under(raised("line: m^" + fixed(line.slope)) + (line.interval ? " " + between(line.interval) : "") + "; dashed: theory") },
    xaxis: { type: "log", title: { text: "width", standoff: 6 }, tickvals: widths, ticktext: widths.map(String) },
    yaxis: { ...logarithmic, title: { text: name, standoff: 6 } },
  } };
}

function exponentRows() {
  return data.checks.filter((one) => one.what === "exponent").flatMap((one) => [
    h("h3", {}, "decay m^p that keeps σ₁ flat, " + one.group),
    table(["layer", "p", "interval", "supports", "note"], (one.found.modules || []).map((module) => row([
      String(module.name), fixed(module.decay?.value), between(module.decay?.interval), module.supports === null ? "undecided" : String(module.supports?.length ? module.supports : "none"), h("td", { class: "long" }, String(module.note || "")),
    ]))),
  ]);
}

panels.push({
  id: "widths",
  title: "Singular values and gains against width",
  note: "How each kind of layer goes with the width: as width^slope, where 0 is the same at all widths, which the rule promises within the shaded band. A gain is the size of a block's output over that of its input. Intervals are 95%. Choose a row to see that layer everywhere on this page.",
  build() {
    const found = [];
    for (const recipe of shownRecipes()) {
      const some = slopesOf(recipe);
      if (!some) continue;
      const chosen = some.lines.find((line) => line.name === chosenLayer()) || some.lines.find((line) => data.spectra.layers.find((one) => one.name === line.name)?.members.includes(chosenLayer())) || some.lines[0];
      if (chosen === some.lines[0] && ![chosen.name, ...(data.spectra.layers.find((one) => one.name === chosen.name)?.members || [])].includes(chosenLayer()) && chosenLayer())
        found.push(note(chosenLayer() + " has no slope: it is none of the layers that a steady state is promised for."));
      const bare = some.lines.map((line) => ({ ...line, value: line.slope, low: line.predicted - line.tolerance, high: line.predicted + line.tolerance }));
      found.push(h("h3", { class: "clip" }, recipe),
        h("div", { class: "plots" }, plot("slopes", () => forest("slope of every kind of layer" + under(pairTitle(some.pair)), bare, "slope: power of the width"), forestHeight(bare)), chosen ? plot("width", () => widthPlot(chosen)) : null),
        table(["layer", "slope", "interval", "promised", "verdict", "asks for a decay of", "what is missing"], some.lines.map((line) => row([
          (line.quantity === "gain" ? "gain of " : "") + line.name, fixed(line.slope), between(line.interval), line.predicted + " ± " + line.tolerance,
          said({ mark: line.mark, text: line.verdict }, "td"), line.implied === null ? "–" : h("span", {}, rich("m^" + line.implied.toFixed(2))), h("td", { class: "long" }, line.note),
        ], { class: "pick", tabindex: 0, "aria-selected": line === chosen, "data-key": recipe + line.name, onclick: () => select({ layer: line.name }), onkeydown: (event) => { if (["Enter", " "].includes(event.key)) { event.preventDefault(); select({ layer: line.name }); } } }))));
    }
    found.push(...exponentRows());
    return found.length ? found : [note("No slopes: they take three widths whose runs observed singular values, and plan.json in their directories. mupwd check --steady runs what they take.")];
  },
});
panels.push(shapePanel());
panels.push(geometryPanel());
