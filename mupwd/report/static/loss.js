// 2. Loss against learning rate and decay, one curve per width; maps of both; loss against step.
const hasDiverged = (recipe, width) => data.runs.some((run) => run.recipe === recipe && run.width === width && run.status === "diverged");

function lossTraces(panel, [low, high]) {
  const out = [];
  for (const line of panel.lines) {
    if (!isShown(line.width)) continue;
    const gone = line.x.filter((_, i) => line.y[i] === null);
    const name = widthName(line.width);
    if (gone.length) out.push({
      x: gone, y: gone.map(() => high - 0.035 * rank(line.width) * (high - low)), mode: "markers", cliponaxis: false,
      marker: { color: colour(line.width), size: 10, symbol: hasDiverged(panel.recipe, line.width) ? "x-thin-open" : "triangle-down-open", line: { width: 2 } },
      hovertemplate: name + (hasDiverged(panel.recipe, line.width) ? ": diverged or stopped early at %{x}" : ": stopped early at %{x}") + "<extra></extra>",
    });
    out.push({
      x: line.x, y: line.y, mode: "lines+markers", name,
      line: { color: colour(line.width), width: 2 },
      marker: { color: colour(line.width), size: 8, opacity: 1, symbol: symbol(line.width) },
      text: line.y.map((v, i) => (v === null ? "" : v.toFixed(4)) + " at " + power(line.x[i]) + ", " + line.seeds[i] + (line.seeds[i] === 1 ? " seed" : " seeds")),
      hovertemplate: name + ": %{text}<extra></extra>",
    });
    if (line.optimum) {
      const [x, start, end, loss] = line.optimum;
      out.push({
        x: [x], y: [loss - 0.035 * (high - low)], mode: "markers",
        marker: { color: colour(line.width), size: 12, symbol: "line-ns-open", line: { width: 2 } },
        error_x: { type: "data", symmetric: false, array: [end - x], arrayminus: [x - start], color: colour(line.width), thickness: 2, width: 4 },
        hovertemplate: name + ": optimum " + power(x) + " [" + start.toFixed(2) + ", " + end.toFixed(2) + "]<extra></extra>",
      });
    }
  }
  return out;
}

function lossLayout(panel, group) {
  const [low, high] = group.range, all = panel.lines.flatMap((line) => line.x);
  const ticks = [...new Set(all.map(Math.round))];
  const held = panel.axis === "learning_rate" ? "the tuned decay" : "each width's best learning rate";
  return {
    title: { text: "loss against " + group.axes[panel.axis] + under("at " + held) },
    xaxis: { tickvals: ticks, ticktext: ticks.map(power), range: [Math.min(...all) - 0.3, Math.max(...all) + 0.3], title: { text: group.axes[panel.axis] + ", as set for width " + group.base, standoff: 6 } },
    yaxis: { title: { text: lossName(), standoff: 6 }, range: [low - 0.06 * (high - low), high + 0.02 * (high - low)] },
    ...(panel.tuned === null ? {} : { shapes: [{ type: "line", x0: panel.tuned, x1: panel.tuned, yref: "paper", y0: 0, y1: 1, line: { dash: "dash", width: 1.5, color: css("--soft") } }], annotations: [{ x: panel.tuned, yref: "paper", y: 1, yanchor: "top", xanchor: "left", xshift: 2, text: "tuned", showarrow: false, font: { size: 11, color: css("--soft") } }] }),
  };
}

const bestOf = (one) => Math.min(...one.losses.flat().filter((loss) => typeof loss === "number"));
// How far all maps of a recipe go above their best, within what the curves show.
const spanOf = (maps, most) => Math.min(most, Math.max(0.01, ...maps.flatMap((one) => one.losses.flat().filter((loss) => typeof loss === "number").map((loss) => loss - bestOf(one)))));

function heatmap(one, span) {
  const base = bestOf(one);
  const name = (value) => (value > 0 ? power(Math.log2(value)) : "0");
  const z = one.losses.map((cells) => cells.map((loss) => (loss === null ? null : loss === "s" ? null : loss === "x" ? span : Math.min(loss - base, span))));
  const at = (pair) => [one.rates.indexOf(pair[0]), one.decays.indexOf(pair[1])];
  // Frames, which leave the numbers free; that of the best lies inside the other where both are one cell.
  const frame = (pair, inset, dash) => {
    const [x, y] = at(pair), half = 0.5 - inset;
    return x < 0 || y < 0 ? [] : [{ type: "rect", x0: x - half, x1: x + half, y0: y - half, y1: y + half, line: { width: 2.5, color: "#d55e00", dash } }];
  };
  const size = Math.max(one.rates.length, 1);
  return {
    traces: [{
      type: "heatmap", z, xgap: 1, ygap: 1, zmin: 0, zmax: span, colorscale: "Cividis", reversescale: true, showscale: true,
      colorbar: { thickness: 8, outlinewidth: 0, title: { text: "above<br>best", font: { size: 11 } } },
      text: one.losses.map((cells) => cells.map((loss) => (loss === null || loss === "s" ? "" : loss === "x" ? "×" : loss.toFixed(size > 8 ? 1 : 2)))),
      texttemplate: "%{text}", textfont: { size: size > 8 ? 9 : 11 },
      hovertext: one.losses.map((cells, y) => cells.map((loss, x) => (loss === null ? "not run" : typeof loss === "string" ? { x: "diverged", s: "stopped early" }[loss] : loss.toFixed(4)) + " at learning rate " + name(one.rates[x]) + ", decay " + name(one.decays[y]))),
      hoverinfo: "text",
    }],
    layout: {
      title: { text: widthName(one.width) + under("dotted frame: tuned; full: best here") },
      shapes: [...frame(one.tuned, 0, "dot"), ...frame(one.best, one.tuned.join() === one.best.join() ? 0.09 : 0, "solid")],
      xaxis: { tickvals: one.rates.map((_, i) => i), ticktext: one.rates.map(name), showgrid: false, title: { text: "learning rate", standoff: 4 } },
      yaxis: { tickvals: one.decays.map((_, i) => i), ticktext: one.decays.map(name), showgrid: false, title: { text: "weight decay", standoff: 4 } },
    },
  };
}

function stepPlot(recipe) {
  const traces = [];
  for (const run of runsOf(recipe, chosenPair(recipe))) for (const [number, name, steps, values] of data.curves)
    if (number === run.number) traces.push(...lines(run, series(steps), series(values), { dash: name === "eval/loss" ? "dot" : "solid" }));
  return { traces, layout: {
    title: { text: "loss against step" + under(pairTitle(chosenPair(recipe)) + "; dotted, or the last mark: held out") },
    xaxis: { title: { text: "step", standoff: 6 } }, yaxis: { title: { text: lossName(), standoff: 6 } },
  } };
}

panels.push({
  id: "loss",
  title: "Loss against learning rate and weight decay",
  note: "Where settings carry over, the optima of all widths line up. Bars below the curves are 95% intervals of the fitted minimum, which may lie between two values that ran; the dashed line is the value that was chosen at the narrowest width. Marks at the upper end: ▽ stopped early, as others were clearly better; × a seed diverged. In the maps empty cells were stopped early or not run.",
  build() {
    const found = [], seen = new Set();
    for (const group of data.loss) {
      for (const recipe of new Set(group.panels.map((one) => one.recipe))) {
        if (!hasRecipe(recipe)) continue;
        seen.add(recipe);
        const verdict = data.verdicts.find((one) => one.label === recipe);
        const heat = group.heat.filter((one) => one.recipe === recipe && isShown(one.width));
        found.push(h("h3", { class: "clip" }, recipe), h("div", { class: "plots", "data-recipe": recipe },
          group.panels.filter((one) => one.recipe === recipe).map((one) =>
            plot("loss-" + one.axis, () => ({ traces: lossTraces(one, group.range), layout: lossLayout(one, group) })))));
        if (heat.length) found.push(h("div", { class: "plots small" }, heat.map((one) => plot("heat", () => heatmap(one, spanOf(heat, group.range[1] - group.range[0]))))));
        if (verdict?.rows) found.push(table(["width", "best learning rate", "best weight decay", "best pair that ran", "its loss ± noise"],
          verdict.rows.filter((cells) => isShown(Number(cells[0]))).map((cells) => row(cells.map((cell) => h("span", {}, rich(cell)))))));
        if (hasCurves(recipe)) found.push(h("div", { class: "plots" }, plot("steps", () => stepPlot(recipe))));
      }
    }
    for (const recipe of shownRecipes()) if (!seen.has(recipe) && hasCurves(recipe))
      found.push(h("h3", { class: "clip" }, recipe), h("div", { class: "plots" }, plot("steps", () => stepPlot(recipe))));
    return found.length ? found : [note("No losses in these directories.")];
  },
});

const hasCurves = (recipe) => data.curves.some(([number]) => data.runs[number].recipe === recipe);
