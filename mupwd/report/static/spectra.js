// 3. Singular values against step; 5. shapes of spectra; 6. geometry of updates. Panel 4 lies between them: widths.js.
const traceOf = (layer, quantity) => (data.spectra.traces[layer] || {})[quantity] || [];
// Where no log says what a matrix's fans are, its values are shown raw.
const isRaw = (layer) => state.scale === "raw" || !Object.values(data.spectra.factors).some((one) => one[layer]);
const factorOf = (number, layer) => (isRaw(layer) ? 1 : (data.spectra.factors[number] || {})[layer] ?? null);
const observed = (recipe) => data.spectra.health.some((one) => data.runs[one.run].recipe === recipe);
const sigmaName = (layer) => (isRaw(layer) ? "σ₁" : "σ₁ · √(fan_in / fan_out)");
const noSpectra = () => note("No singular values in these logs: observe them with mupwd sweep … --set observe_every=20, or with mupwd.track_spectrum in a train loop of your own.");

function scaleControl() {
  const button = (value, text) => h("button", {
    type: "button", class: "choice", "aria-pressed": state.scale === value, "data-key": "scale" + value, onclick: () => select({ scale: value }),
  }, text);
  return h("div", { class: "controls", role: "group", "aria-label": "scale" }, button("", "theory-normalised"), button("raw", "raw"));
}

function sigmaPlot(recipe, layer) {
  const gain = isGain(layer), pair = chosenPair(recipe), traces = [];
  const errors = new Map(traceOf(layer, "err_1").map(([number, steps, values]) => [number, [series(steps), series(values)]]));
  const numbers = new Map(runsOf(recipe, pair).map((run) => [run.number, run]));
  for (const [number, steps, values] of traceOf(layer, gain ? "gain" : "sigma_1")) {
    const run = { ...data.runs[number], number };
    const scale = gain ? 1 : factorOf(number, layer);
    if (run.recipe !== recipe || run.pair !== pair || scale === null) continue;
    if (!numbers.has(number)) continue;
    const found = lines(run, series(steps), series(values), {}, scale);
    const error = errors.get(number);
    if (error) {
      const known = new Map(Array.from(error[0], (step, i) => [step, error[1][i]]));
      found[0].error_y = { type: "data", array: found[0].x.map((step, i) => (known.get(step) || 0) * (found[0].y[i] || 0)), thickness: 1, width: 2, color: colour(run.width) };
    }
    traces.push(...found);
  }
  // What the rule promises: the narrowest width's curve, its seeds together, at every width.
  for (const [of, at, number, atSteps, values_] of (data.spectra.theory || {})[layer] || []) {
    const run = { ...data.runs[number], number }, steps = series(atSteps), values = series(values_), scale = gain ? 1 : factorOf(number, layer);
    if (of !== recipe || at !== pair || scale === null) continue;
    const own = (data.spectra.factors[run.number] || {})[layer];
    const targets = state.scale === "raw" && own && !gain
      ? [...new Map([...numbers.values()].map((one) => [one.width, one])).values()].map((one) => [one, (data.spectra.factors[one.number] || {})[layer]]).filter((one) => one[1])
      : [[run, null]];
    for (const [one, factor] of targets) traces.push({
      x: Array.from(steps), y: Array.from(values, (value) => (Number.isFinite(value) ? value * scale * (factor ? own / factor : 1) : null)), mode: "lines", name: "theory",
      line: { dash: "dash", width: 2.5, color: factor ? colour(one.width) : css("--soft") }, opacity: 0.8,
      hovertemplate: "theory: what " + widthName(run.width) + " promises" + (factor ? " for " + widthName(one.width) : " for all") + ": %{y:.4g}<extra></extra>",
    });
  }
  const name = gain ? "gain" : sigmaName(layer);
  return { traces, layout: {
    title: { text: (gain ? "gain of " : "") + plain(layer) + under(pairTitle(pair) + "; dashed: theory, the mean of the narrowest width") },
    xaxis: { title: { text: "step", standoff: 6 } }, yaxis: { title: { text: name, standoff: 6 }, ...logarithmic },
  } };
}

panels.push({
  id: "sigma",
  title: "Top singular values against step",
  note: "Of the layer that is chosen above ([ and ] step through them), a curve per run. If the rule holds, the curves of all widths fall on the dashed one.",
  build() {
    const recipes = shownRecipes().filter(observed), layer = chosenLayer();
    if (!recipes.length) return [noSpectra()];
    return [scaleControl(), h("div", { class: "plots" }, recipes.map((recipe) => h("div", {}, recipes.length > 1 ? h("h3", { class: "clip" }, recipe) : null, plot("sigma", () => sigmaPlot(recipe, layer)))))];
  },
});

function shapePlot(recipe, layer) {
  const pair = chosenPair(recipe), traces = [], lines_ = [], drawn = new Set(), edgesOf = new Map();
  const some = (data.spectra.shapes[layer] || []).filter(([number]) => data.runs[number].recipe === recipe && data.runs[number].pair === pair && isShown(data.runs[number].width));
  // One step for all: of each run the last observation that is not after it.
  const steps_ = [...new Set(some.flatMap(([, steps]) => [...series(steps)]))].sort((a, b) => a - b);
  const wanted = steps_[Math.round(Math.min(1, Math.max(0, Number(state.at) || 0)) * (steps_.length - 1))];
  for (const [number, steps, values, count, edges] of some) {
    const run = data.runs[number], scale = factorOf(number, layer), all = series(steps), index = all.filter((step) => step <= wanted).length - 1;
    if (scale === null || index < 0) continue;
    const at = all[index];
    drawn.add(at);
    const sigma = Array.from(series(values).subarray(index * count, (index + 1) * count), (value) => (Number.isFinite(value) ? value * scale : null));
    traces.push({
      x: sigma.map((_, i) => i + 1), y: sigma, mode: "lines+markers", line: { color: colour(run.width), width: 1.6 }, marker: { color: colour(run.width), size: 8, symbol: symbol(run.width) },
      hovertemplate: widthName(run.width) + ", seed " + run.seed + ": σ<sub>%{x}</sub> %{y:.4g} at step " + at + "<extra></extra>",
    });
    if (edges) edgesOf.set(run.width, [...(edgesOf.get(run.width) || []), series(edges)[index] * scale]);
  }
  // One for each width: its seeds differ by little.
  for (const [width, some_] of edgesOf) {
    const y = some_.reduce((a, b) => a + b) / some_.length;
    lines_.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: colour(width), width: 1, dash: "dash" } });
  }
  return { traces, layout: {
    title: { text: plain(layer) + (drawn.size ? ", step " + [...new Set([Math.min(...drawn), Math.max(...drawn)])].join(" to ") : "") + under("dashed: Marchenko–Pastur edge") },
    xaxis: { title: { text: "rank of the singular value", standoff: 6 }, dtick: 1 },
    yaxis: { title: { text: sigmaName(layer).replace("₁", ""), standoff: 6 }, ...logarithmic },
    shapes: lines_.filter((one) => one.y0 > 0),
  } };
}

function shapePanel() {
  return {
    id: "shapes",
    title: "Shapes of spectra",
    note: "The largest singular values at one step, all widths over each other. The edge is where those of independent entries of the same size end: what lies above it is structure.",
    build() {
      const layer = chosenLayer(), one = data.spectra.layers.find((some) => some.name === layer);
      const member = (data.spectra.shapes[layer] ? layer : one?.members.find((name) => data.spectra.shapes[name])) || Object.keys(data.spectra.shapes)[0];
      const recipes = shownRecipes().filter(observed);
      if (!member || !recipes.length) return [noSpectra()];
      const other = member === layer || one?.members.includes(member) ? null : note(layer + " has no spectrum of several values in these logs; here is " + member + ".");
      const slider = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: state.at, "data-key": "at", "aria-label": "step, from the first to the last observation",
        oninput: (event) => {
          state.at = event.target.value;
          for (const element of document.querySelectorAll("[data-plot=shapes]")) { element.stale = true; if (element.near) drawPlot(element); }
        },
        onchange: (event) => select({ at: event.target.value }) });
      return [other, h("div", { class: "controls" }, h("label", {}, "step: first", slider, "last")),
        h("div", { class: "plots" }, recipes.map((recipe) => h("div", {}, recipes.length > 1 ? h("h3", { class: "clip" }, recipe) : null, plot("shapes", () => shapePlot(recipe, member)))))];
    },
  };
}

const geometryNames = {
  weight_rms: "RMS of the weights", update_rms: "RMS of the update", effective_learning_rate: "update over weights",
  angle: "angle per step (radians)", decay_timescale: "decay timescale (steps)", stable_rank: "stable rank",
};

function geometryPlot(quantity, layer, recipe) {
  const traces = [], pair = chosenPair(recipe);
  for (const [number, steps, values] of traceOf(layer, quantity)) {
    const run = data.runs[number];
    if (run.recipe === recipe && run.pair === pair && isShown(run.width)) traces.push(...lines(run, series(steps), series(values), {}));
  }
  return { traces, layout: { title: { text: geometryNames[quantity] }, xaxis: { title: { text: "step", standoff: 4 } }, yaxis: { ...logarithmic } } };
}

function geometryPanel() {
  return {
    id: "geometry",
    title: "Geometry of updates",
    note: "How large the weights of the chosen layer are, how far a step moves and turns them, and in how many steps decay forgets them. Curves of different widths need not coincide here.",
    build() {
      const layer = chosenLayer(), some = Object.keys(geometryNames).filter((name) => traceOf(layer, name).length);
      const lacking = Object.keys(geometryNames).filter((name) => !some.includes(name));
      const recipes = shownRecipes().filter(observed);
      return [
        some.length ? recipes.map((recipe) => [recipes.length > 1 ? h("h3", { class: "clip" }, recipe) : null, h("div", { class: "plots small" }, some.map((name) => plot("geometry-" + name, () => geometryPlot(name, layer, recipe))))]) : null,
        lacking.length ? note("Not in these logs for this layer: " + lacking.map((name) => geometryNames[name]).join(", ") + ". They are what mupwd.diagnostics.metrics gives of mupwd.track_spectrum(plan, learning_rate=…, weight_decay=…).") : null,
      ];
    },
  };
}
