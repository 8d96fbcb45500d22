// 9. Everything that is needed to repeat the runs.
panels.push({
  id: "manifest",
  title: "Manifest",
  note: "What is needed to repeat the runs, and what they ran on. [low, high] are 95% intervals. Points with one seed are shown at the mean over seeds that their neighbours suggest.",
  build() {
    return data.manifest.map((one) => [
      data.unit ? note("Losses are nats per token of held-out text.") : null,
      h("h3", { class: "clip" }, one.group),
      h("dl", {}, one.rows.map(([key, value]) => [h("dt", {}, key), h("dd", {}, h("span", { class: "clip", title: String(value).slice(0, 2000) }, String(value)))])),
      h("details", {}, h("summary", {}, (one.runs.length + one.more) + " runs" + (one.more ? ", the first " + one.runs.length : "")),
        table(["run", "recipe", "width", "learning rate", "weight decay", "seed", "status"], one.runs.map((cells) => row(cells.map((cell) => (typeof cell === "number" ? short(cell) : String(cell ?? "–"))))))),
      Object.keys(one.whole).length ? h("details", {}, h("summary", {}, "manifest.json"), h("pre", {}, JSON.stringify(one.whole, null, 1))) : null,
    ]);
  },
});
