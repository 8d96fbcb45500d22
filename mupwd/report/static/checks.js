// 7. The coordinate check, and 8. how far the estimates of singular values can be trusted.
panels.push({
  id: "coordinates",
  title: "Coordinate check",
  note: "How activations and their changes in the first steps scale with the width, against what theory allows.",
  build() {
    const found = data.checks.filter((one) => one.what === "coordinates").flatMap((check) => {
      const judged = { pass: "good", fail: "bad", undecided: "open" };
      const all = Array.isArray(check.found.lines) ? check.found.lines : [];
      const lines = all.filter((line) => judged[line.verdict]).map((line) => ({
        name: String(line.path) + (line.use ? " (" + line.use + ")" : ""), quantity: String(line.quantity), mark: judged[line.verdict], verdict: String(line.verdict), value: line.exponent ?? null,
        interval: Array.isArray(line.interval) ? line.interval : null, low: line.predicted?.[0] - 0.25, high: line.predicted?.[1] + 0.25, predicted: line.predicted, note: String(line.note || ""),
      }));
      const range = (predicted) => (predicted?.[0] === predicted?.[1] ? short(predicted?.[0]) : short(predicted[0]) + " to " + short(predicted[1]));
      const quantities = [...new Set(lines.map((line) => line.quantity))];
      return [
        h("p", {}, said({ mark: judged[check.found.verdict] || "open", text: check.group + ": " + check.found.verdict }, "span")),
        h("div", { class: "plots" }, quantities.map((quantity) => plot("coordinates", () => forest(plain(quantity) + under("exponent of width; shaded: what theory allows ± 1/4"), lines.filter((line) => line.quantity === quantity), "power of the width"), forestHeight(lines.filter((line) => line.quantity === quantity))))),
        h("details", {}, h("summary", {}, lines.length + " lines"), table(["parameter", "quantity", "exponent", "interval", "theory", "verdict", ""], lines.map((line) => row([
          line.name, line.quantity, fixed(line.value), between(line.interval), range(line.predicted), said({ mark: line.mark, text: line.verdict }, "td"), h("td", { class: "long" }, line.note),
        ])))),
      ];
    });
    return found.length ? found : [note("No coordinate check in these directories: mupwd check --out DIR makes one, and mupwd report takes DIR.")];
  },
});

panels.push({
  id: "health",
  title: "Health of the estimates",
  note: "Singular values are estimates with a tolerance. Passes are reads of a matrix per observation; audits search for directions that were missed.",
  build() {
    const shown = data.spectra.health.filter((one) => hasRecipe(data.runs[one.run].recipe) && isShown(data.runs[one.run].width));
    const groups = new Map();
    for (const one of shown) {
      const run = data.runs[one.run], key = run.recipe + "\u001f" + run.width;
      groups.set(key, [...(groups.get(key) || []), one]);
    }
    const sum = (some, name) => { const known = some.map((one) => one[name]).filter((value) => value !== null); return known.length ? known.reduce((a, b) => a + b, 0) : null; };
    const most = (some, name) => { const known = some.map((one) => one[name]).filter((value) => value !== null); return known.length ? Math.max(...known) : null; };
    const broken = data.runs.filter((run) => run.status !== "finished" && hasRecipe(run.recipe) && isShown(run.width));
    const counts = new Map();
    for (const run of broken) counts.set(run.status, (counts.get(run.status) || 0) + 1);
    const found = [note(data.runs.length + " runs" + [...counts].map(([status, count]) => ", " + count + " " + status).join("") + ".")];
    if (!groups.size) return [...found, noSpectra()];
    found.push(table(["recipe", "width", "", "runs", "matrices", "observations", "unconverged", "passes, mean", "passes, most", "largest error", "audits that found more"], [...groups].map(([key, some]) => {
      const [recipe, width] = key.split("\u001f"), bad = sum(some, "unconverged"), total = sum(some, "observations"), audits = sum(some, "audits"), passes = sum(some, "passes");
      const mark = bad === null ? "open" : bad > 0.01 * total || audits > 0 ? "bad" : "good";
      const worst = some.find((one) => one.worst)?.worst;
      const words = { good: "sound", bad: audits > 0 && bad <= 0.01 * total ? "missed directions" : "unconverged" + (worst ? ": " + worst.slice(0, 80) : ""), open: "not known" };
      return row([recipe.slice(0, 80), widthName(Number(width)), said({ mark, text: words[mark] }, "td"), String(some.length), String(most(some, "matrices")), String(total), bad === null ? "–" : bad + " (" + short(100 * bad / Math.max(total, 1)) + "%)", short(passes === null ? null : passes / some.length), short(most(some, "most")), short(most(some, "error")), audits === null ? "–" : String(audits)]);
    })));
    return found;
  },
});
