// 1. Which rule transfers, in words, colour and sign, and what to do next.
panels.push({
  id: "verdict",
  title: "Verdict",
  note: "Does what was tuned at the narrowest width hold at the widest?",
  build() {
    const shown = data.verdicts.filter((one) => hasRecipe(one.label));
    const found = [h("div", { class: "cards" }, shown.map((one) =>
      h("div", { class: "card " + one.mark, "data-recipe": one.label },
        h("h3", {}, h("span", { class: "clip" }, one.label), " ", h("span", { class: "word " + one.mark }, marks[one.mark] + " " + one.word)),
        one.about ? note(one.about + ".") : null,
        h("ul", { class: "findings" }, one.sentences.map((sentence) => said(sentence))),
        one.tuned ? note(one.tuned + ".") : null,
        one.horizon ? note(one.horizon + ".") : null,
        one.next.length ? [h("h4", {}, "What to do next"), h("ul", {}, one.next.map((text) => h("li", {}, commands(text))))] : null)))];
    const scored = shown.filter((one) => one.rows);
    if (scored.length) {
      found.push(table(["recipe", "verdict", "best learning rate", "best weight decay", "loss above the best", "at width"],
        scored.map((one) => row([
          one.label, said({ mark: one.mark, text: one.word }, "td"),
          said(one.drifts[0], "td"), said(one.drifts[1], "td"), said(one.regret, "td"), String(one.target),
        ]))));
    } else if (!data.verdicts.length) {
      found.push(note("No verdict: it takes finished runs of a recipe with several learning rates, and at two widths or more to say what transfers. mupwd sweep makes them."));
    }
    const checks = data.checks.map((one) => {
      const verdict = String(one.found.verdict), mark = { pass: "good", fail: "bad" }[verdict] || "open";
      const what = { coordinates: "coordinate check", steady: "steady state", exponent: "fit of the decay's exponent" }[one.what];
      return said({ mark, text: what + " in " + one.group + ": " + verdict });
    });
    found.push(h("ul", { class: "findings" }, data.comparison.map((one) => said(one)), checks));
    if (data.notes.length) found.push(h("details", {}, h("summary", {}, (data.notes.length === 1 ? "1 note" : data.notes.length + " notes") + " on what was left out"),
      h("ul", {}, data.notes.map((text) => h("li", {}, h("span", { class: "clip", title: text.slice(0, 2000) }, text))))));
    return found;
  },
});
