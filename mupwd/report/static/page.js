"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const symbols = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross"];
// Okabe and Ito's colours, lighter on a dark ground.
const colours = {
  light: ["#c98500", "#009e73", "#0072b2", "#b65c8f", "#d55e00", "#3a94cc"],
  dark: ["#f0b840", "#2fc79a", "#5cb8f0", "#e79cc2", "#ff8552", "#9ad7f5"],
};
const hidden = new Set();
const root = document.documentElement;
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

const theme = () => root.dataset.theme || (prefersDark.matches ? "dark" : "light");
const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const colour = (width) => colours[theme()][data.widths.indexOf(width) % colours.light.length];
const power = (x) => "2<sup>" + String(Math.round(x * 100) / 100).replace("-", "−") + "</sup>";

function traces(panel) {
  const [low, high] = data.range;
  const out = [];
  for (const line of panel.lines) {
    if (hidden.has(line.width)) continue;
    const rank = data.widths.indexOf(line.width);
    const gone = line.x.filter((_, i) => line.y[i] === null);
    out.push({
      x: gone, y: gone.map(() => high), mode: "markers", cliponaxis: false,
      marker: { color: colour(line.width), size: 10, symbol: "x-thin-open", line: { width: 2 } },
      hovertemplate: "width " + line.width + ": diverged or stopped at %{x}<extra></extra>",
    });
    out.push({
      x: line.x, y: line.y, mode: "lines+markers", name: "width " + line.width,
      line: { color: colour(line.width), width: 2 },
      marker: {
        color: colour(line.width), size: 8, opacity: 1, symbol: symbols[rank % symbols.length],
      },
      text: line.y.map((v, i) =>
        (v === null ? "" : v.toFixed(4)) + " at " + power(line.x[i]) + ", " +
        line.seeds[i] + (line.seeds[i] === 1 ? " seed" : " seeds")),
      hovertemplate: "width " + line.width + ": %{text}<extra></extra>",
    });
    if (line.optimum) {
      const [x, start, end, loss] = line.optimum;
      out.push({
        x: [x], y: [loss - 0.035 * (high - low)], mode: "markers", showlegend: false,
        marker: { color: colour(line.width), size: 12, symbol: "line-ns-open", line: { width: 2 } },
        error_x: { type: "data", symmetric: false, array: [end - x], arrayminus: [x - start], color: colour(line.width), thickness: 2, width: 4 },
        hovertemplate: "width " + line.width + ": optimum " + power(x) + " [" + start.toFixed(2) + ", " + end.toFixed(2) + "]<extra></extra>",
      });
    }
  }
  return out;
}

function layout(panel) {
  const [low, high] = data.range;
  const all = panel.lines.flatMap((line) => line.x);
  const ticks = [...new Set(all.map(Math.round))];
  const held = panel.axis === "learning_rate" ? "the tuned decay" : "each width's best learning rate";
  return {
    title: { text: "loss against " + data.axes[panel.axis] + "<br><sup>at " + held + "</sup>", font: { size: 14 }, x: 0.02, xanchor: "left" },
    margin: { l: 56, r: 12, t: 54, b: 48 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--text"), size: 12, family: getComputedStyle(document.body).fontFamily },
    showlegend: false, hovermode: "closest",
    xaxis: { tickvals: ticks, ticktext: ticks.map(power), gridcolor: css("--line"), zeroline: false, range: [Math.min(...all) - 0.3, Math.max(...all) + 0.3], title: { text: data.axes[panel.axis] + " at width " + data.base, standoff: 6 } },
    yaxis: { title: { text: "loss (nats/token)", standoff: 6 }, gridcolor: css("--line"), zeroline: false, range: [low - 0.06 * (high - low), high + 0.02 * (high - low)] },
    shapes: [{ type: "line", x0: panel.tuned, x1: panel.tuned, yref: "paper", y0: 0, y1: 1, line: { dash: "dash", width: 1.5, color: css("--soft") } }],
    annotations: [{ x: panel.tuned, yref: "paper", y: 1, yanchor: "bottom", text: "tuned", showarrow: false, font: { size: 11, color: css("--soft") } }],
  };
}

function draw() {
  for (const plot of document.querySelectorAll(".plot")) {
    const panel = data.panels.find((one) => one.recipe === plot.dataset.recipe && one.axis === plot.dataset.axis);
    Plotly.react(plot, traces(panel), layout(panel), { responsive: true, displaylogo: false, displayModeBar: false });
  }
  for (const button of document.querySelectorAll("#legend button")) {
    const width = Number(button.dataset.width);
    button.setAttribute("aria-pressed", String(!hidden.has(width)));
    button.style.borderColor = colour(width);
    button.firstChild.style.color = colour(width);
  }
}

const shapes = ["●", "■", "◆", "▲", "▼", "✚"];
for (const width of data.widths) {
  const button = document.createElement("button");
  const sign = document.createElement("span");
  sign.textContent = shapes[data.widths.indexOf(width) % shapes.length] + " ";
  button.type = "button";
  button.dataset.width = width;
  button.append(sign, "width " + width + (width === data.base ? " (base)" : ""));
  button.addEventListener("click", () => {
    if (!hidden.delete(width)) hidden.add(width);
    draw();
  });
  document.getElementById("legend").append(button);
}
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = theme() === "dark" ? "light" : "dark";
  draw();
});
prefersDark.addEventListener("change", draw);
draw();
// Text settles after the first drawing (fonts, scroll bars), and with it the room for the plots.
requestAnimationFrame(() => document.querySelectorAll(".plot").forEach((plot) => Plotly.Plots.resize(plot)));
