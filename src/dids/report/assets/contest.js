// The chart of a contest: mean validation losses over tokens, a band of one standard deviation each.
(() => {
  "use strict";
  const { data, plain, axis, colour } = page;
  const element = document.getElementById("contest");
  const hidden = new Set();

  const faint = (hex) => `${hex}2e`;
  const band = (line, shown) => {
    const upper = line.mean.map((mean, i) => mean + line.sd[i]);
    const lower = line.mean.map((mean, i) => mean - line.sd[i]);
    return {
      x: [...line.tokens, ...[...line.tokens].reverse()], y: [...upper, ...lower.reverse()],
      type: "scatter", mode: "lines", fill: "toself", fillcolor: faint(shown),
      line: { width: 0 }, hoverinfo: "skip",
    };
  };
  const curve = (line, shown) => ({
    x: line.tokens, y: line.mean, name: plain(line.name), type: "scatter", mode: "lines",
    line: { color: shown, width: line.is_pale ? 1 : 2 },
    hovertemplate: `%{y:.3f} ${plain(line.name)}<extra></extra>`,
  });
  // The steep beginning would press everything after it flat.
  const range = (lines) => {
    const end = Math.max(...lines.flatMap((line) => line.tokens));
    const late = lines.flatMap((line) => line.mean.filter((_, i) => line.tokens[i] >= end / 4));
    if (!late.length) return undefined;
    const low = Math.min(...late), high = Math.max(...late);
    const room = Math.max(high - low, 0.02) * 0.08;
    return [low - room, high + room];
  };

  if (element) {
    page.onPaint(() => {
      const lines = data.lines.filter((_, i) => !hidden.has(i));
      const traces = [
        ...lines.filter((line) => !line.is_pale && line.sd.some((sd) => sd > 0)).map((line) => band(line, page.ofTheme(line))),
        ...lines.map((line) => curve(line, page.ofTheme(line))),
      ];
      page.draw(element, traces, {
        margin: { l: 8, r: 14, t: 10, b: 8 }, hovermode: "x unified",
        hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("rule"), font: { color: colour("ink"), size: 12 } },
        xaxis: axis({ showgrid: false, tickformat: "~s", hoverformat: ".3s", title: { text: "tokens trained on", font: { size: 12 }, standoff: 8 } }),
        yaxis: axis({ tickformat: ".3~g", range: range(lines) }),
      });
    });
    for (const button of document.querySelectorAll("[data-line]")) {
      button.addEventListener("click", () => {
        const line = Number(button.dataset.line);
        if (!hidden.delete(line)) hidden.add(line);
        button.setAttribute("aria-pressed", String(!hidden.has(line)));
        page.paint();
      });
    }
  }
  page.paint();
})();
