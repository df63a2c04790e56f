// The charts of one run: its mixture, its losses, the map of its samples.
(() => {
  "use strict";
  const { data, percent, tokens, showTip, hideTip, colour } = page;

  // Mixture, with the values of the round under the pointer in the legend.
  const mixture = data.mixture;
  const mixtureChart = document.getElementById("mixture-chart");
  const legend = document.getElementById("mixture-legend");
  const when = document.getElementById("mixture-when");
  const atRest = when.innerHTML;

  const fillLegend = (index, under) => {
    const bySource = new Map();
    const byName = new Map();
    for (const area of mixture.areas) {
      byName.set(area.name, area.shares[index]);
      bySource.set(area.source, (bySource.get(area.source) || 0) + area.shares[index]);
    }
    for (const group of legend.querySelectorAll(".group")) {
      const share = bySource.get(group.dataset.source);
      if (share === undefined) continue;
      group.querySelector(".source .last").textContent = percent(share);
      group.querySelector(".source").classList.toggle("is-under", under?.source === group.dataset.source);
      for (const member of group.querySelectorAll(".member")) {
        member.querySelector(".last").textContent = percent(byName.get(member.dataset.domain) ?? 0);
        member.classList.toggle("is-under", under?.name === member.dataset.domain);
      }
    }
  };
  const readMixture = (x, y, event) => {
    const { index, area } = page.areaAt(mixture, x, y);
    legend.classList.add("reading");
    when.textContent = `Round ${mixture.rounds[index]}, from ${tokens(mixture.tokens[index])} tokens on`;
    fillLegend(index, area);
    if (area) showTip(`${area.name}\n${percent(area.shares[index])} in round ${mixture.rounds[index]}`, event.clientX, event.clientY);
  };
  const restMixture = () => {
    hideTip();
    legend.classList.remove("reading");
    when.innerHTML = atRest;
    fillLegend(mixture.rounds.length - 1, null);
  };

  // Losses: small multiples, each on its own scale.
  const drawLoss = (element) => {
    const chart = data.losses[Number(element.dataset.loss)];
    const lines = [{ name: "DIDS", points: chart.run, colour: colour("accent"), width: 2 }];
    if (chart.control.length) lines.unshift({ name: data.control, points: chart.control, colour: colour("faint"), width: 1.5 });
    page.drawLosses(element, lines, chart.lowest ? [chart.lowest] : []);
  };

  // Map: a name under the pointer, or in focus, leaves its own dots alone.
  const mapChart = document.getElementById("map-chart");
  const mapNames = document.getElementById("map-names");
  let lit = null;
  const drawMap = () => {
    const traces = data.map.dots.map((dots) => ({
      x: dots.x, y: dots.y, text: dots.texts, type: "scatter", mode: "markers", hoverinfo: "none",
      marker: { size: 5, color: page.ofTheme(dots), opacity: lit === null ? 0.75 : lit === dots.name ? 1 : 0.06 },
    }));
    page.draw(mapChart, traces, {
      margin: { l: 6, r: 6, t: 6, b: 6 }, hovermode: "closest",
      xaxis: page.axis({ showgrid: false, showticklabels: false, automargin: false }),
      yaxis: page.axis({ showgrid: false, showticklabels: false, automargin: false, scaleanchor: "x" }),
    });
  };
  const light = (name) => {
    if (lit === name) return;
    lit = name;
    drawMap();
  };

  page.onPaint(() => {
    if (mixture.areas.length && mixture.tokens.length) page.drawMixture(mixtureChart, mixture);
    document.querySelectorAll("[data-loss]").forEach(drawLoss);
    if (mapChart) drawMap();
  });
  page.paint();

  if (mixtureChart.on) {
    mixtureChart.on("plotly_hover", (hover) => readMixture(hover.xvals[0], hover.yvals[0], hover.event));
    mixtureChart.on("plotly_unhover", restMixture);
  }
  if (mapChart) {
    mapChart.on("plotly_hover", (hover) => showTip(hover.points[0].text, hover.event.clientX, hover.event.clientY));
    mapChart.on("plotly_unhover", hideTip);
    const named = (event) => event.target.closest?.("[data-dots]")?.dataset.dots ?? null;
    for (const kind of ["pointerover", "focusin", "click"]) mapNames.addEventListener(kind, (event) => light(named(event)));
    for (const kind of ["pointerleave", "focusout"]) mapNames.addEventListener(kind, () => light(null));
  }
})();
