// The charts of a comparison: a mixture a run, and every task's losses with a line a run.
(() => {
  "use strict";
  const { data, percent, showTip, hideTip } = page;
  const mixtures = [...document.querySelectorAll("[data-mixture]")];

  page.onPaint(() => {
    for (const element of mixtures) {
      const mixture = data.mixtures[Number(element.dataset.mixture)];
      if (mixture.areas.length && mixture.tokens.length) {
        page.drawMixture(element, mixture, { xaxis: { nticks: 4 }, yaxis: { tickvals: [0, 0.5, 1] } });
      }
    }
    for (const element of document.querySelectorAll("[data-loss]")) {
      const chart = data.losses[Number(element.dataset.loss)];
      page.drawLosses(element, chart.lines.map((line) => ({ ...line, colour: page.ofTheme(line), width: 2 })));
    }
  });
  page.paint();

  for (const element of mixtures) {
    if (!element.on) continue;
    const mixture = data.mixtures[Number(element.dataset.mixture)];
    element.on("plotly_hover", (hover) => {
      const { index, area } = page.areaAt(mixture, hover.xvals[0], hover.yvals[0]);
      if (area) showTip(`${area.name}\n${percent(area.shares[index])} in round ${mixture.rounds[index]}`, hover.event.clientX, hover.event.clientY);
    });
    element.on("plotly_unhover", hideTip);
  }
})();
