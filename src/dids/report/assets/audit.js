// The charts of an audit: a point a domain, impact across and what training did upwards.
(() => {
  "use strict";
  const { data, plain, axis, colour } = page;
  const names = data.domains.map(plain);

  page.onPaint(() => {
    const shown = page.ofTheme(data.colour);
    for (const element of document.querySelectorAll("[data-panel]")) {
      const panel = data.panels[Number(element.dataset.panel)];
      page.draw(element, [{
        x: panel.impact, y: panel.drop, text: names, type: "scatter", mode: "markers",
        marker: { size: 7, color: shown },
        error_y: { type: "data", array: panel.off, thickness: 1, width: 0, color: colour("soft") },
        hovertemplate: "%{text}<br>impact %{x:.2f}<br>loss falls by %{y:.3f}<extra></extra>",
      }], {
        margin: { l: 8, r: 8, t: 6, b: 6 }, hovermode: "closest",
        hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("rule"), font: { color: colour("ink"), size: 12 } },
        xaxis: axis({ zeroline: true, zerolinecolor: colour("rule"), nticks: 4 }),
        yaxis: axis({ zeroline: true, zerolinecolor: colour("rule"), nticks: 4, tickformat: ".2~f" }),
      });
    }
  });
  page.paint();
})();
