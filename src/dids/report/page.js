// Draws the charts in the reader's colours, redraws them when those change, and shows values on hover.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const phone = window.matchMedia("(max-width: 640px)");
  const tip = document.getElementById("tip");
  const colour = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
  const percent = (share) => `${(100 * share).toFixed(1)}\u202f%`;
  const tokens = (n) => {
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (n >= size) return `${+(n / size).toPrecision(3)}\u202f${unit}`;
    }
    return String(n);
  };

  const showTip = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, x + 14), window.innerWidth - box.width - 8);
    const top = y - box.height - 12 < 8 ? y + 18 : y - box.height - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
  };
  const hideTip = () => { tip.hidden = true; };

  const axis = (more) => ({
    color: colour("soft"), gridcolor: colour("rule"), zeroline: false, fixedrange: true,
    ticks: "", ticklabelstandoff: 4, showline: false, automargin: true, ...more,
  });
  const layout = (more) => ({
    autosize: true, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("soft") },
    hovermode: "x", dragmode: false, ...more,
  });
  const config = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };

  // Mixture: every area is a step line, because a mixture holds until the next round begins.
  const mixture = data.mixture;
  const mixtureChart = document.getElementById("mixture-chart");
  const legend = document.getElementById("mixture-legend");
  const when = document.getElementById("mixture-when");
  const atRest = when.innerHTML;

  const drawMixture = () => {
    const end = Math.max(mixture.end, mixture.tokens[mixture.tokens.length - 1] || 0);
    const x = [...mixture.tokens, end];
    const traces = mixture.areas.map((area) => ({
      x, y: [...area.shares, area.shares[area.shares.length - 1]], name: area.name,
      type: "scatter", mode: "lines", stackgroup: "mixture", hoverinfo: "none",
      fillcolor: dark.matches ? area.dark : area.light,
      line: { width: 0.5, color: colour("surface"), shape: "hv" },
    }));
    Plotly.react(mixtureChart, traces, layout({
      margin: { l: 8, r: 14, t: 10, b: 8 },
      xaxis: axis({
        range: [mixture.tokens[0] || 0, end], showgrid: false, nticks: phone.matches ? 4 : 8, tickformat: "~s",
        title: { text: "tokens trained on", font: { size: 12 }, standoff: 8 },
        showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid",
        spikecolor: colour("ink"), spikesnap: "cursor",
      }),
      yaxis: axis({ range: [0, 1], tickformat: ".0%", tickvals: [0, 0.25, 0.5, 0.75, 1], showgrid: false }),
    }), config);
  };

  const roundAt = (x) => {
    let index = 0;
    mixture.tokens.forEach((start, i) => { if (start <= x) index = i; });
    return index;
  };
  const readMixture = (x, y, event) => {
    const index = roundAt(x);
    let below = 0;
    let under = null;
    const shareBySource = new Map();
    const shareByName = new Map();
    for (const area of mixture.areas) {
      const share = area.shares[index];
      if (under === null && y <= below + share) under = area;
      below += share;
      shareByName.set(area.name, share);
      shareBySource.set(area.source, (shareBySource.get(area.source) || 0) + share);
    }
    legend.classList.add("reading");
    when.textContent = `Round ${mixture.rounds[index]}, from ${tokens(mixture.tokens[index])} tokens on`;
    for (const group of legend.querySelectorAll(".group")) {
      const share = shareBySource.get(group.dataset.source);
      if (share === undefined) continue;
      group.querySelector(".source .last").textContent = percent(share);
      group.querySelector(".source").classList.toggle("is-under", under?.source === group.dataset.source);
      for (const member of group.querySelectorAll(".member")) {
        member.querySelector(".last").textContent = percent(shareByName.get(member.dataset.domain) ?? 0);
        member.classList.toggle("is-under", under?.name === member.dataset.domain);
      }
    }
    if (under) showTip(`${under.name}\n${percent(under.shares[index])} in round ${mixture.rounds[index]}`, event.clientX, event.clientY);
  };
  const restMixture = () => {
    hideTip();
    legend.classList.remove("reading");
    when.innerHTML = atRest;
    const last = mixture.rounds.length - 1;
    const bySource = new Map();
    const byName = new Map();
    for (const area of mixture.areas) {
      byName.set(area.name, area.shares[last]);
      bySource.set(area.source, (bySource.get(area.source) || 0) + area.shares[last]);
    }
    for (const group of legend.querySelectorAll(".group")) {
      group.querySelector(".source").classList.remove("is-under");
      if (bySource.has(group.dataset.source)) group.querySelector(".source .last").textContent = percent(bySource.get(group.dataset.source));
      for (const member of group.querySelectorAll(".member")) {
        member.classList.remove("is-under");
        member.querySelector(".last").textContent = percent(byName.get(member.dataset.domain) ?? 0);
      }
    }
  };

  // Losses: small multiples, each on its own scale.
  const lossRange = (chart) => {
    // The steep beginning would press everything after it flat: from a quarter of the tokens on.
    const points = [...chart.run, ...chart.control].filter((p) => p[1] !== null);
    const end = Math.max(...points.map((p) => p[0]));
    const late = points.filter((p) => p[0] >= end / 4).map((p) => p[1]);
    if (!late.length) return undefined;
    const low = Math.min(...late);
    const room = Math.max(Math.max(...late) - low, 0.02) * 0.08;
    return [low - room, Math.max(...late) + room];
  };
  const drawLoss = (element) => {
    const chart = data.losses[Number(element.dataset.loss)];
    const line = (points, name, paint, width) => ({
      x: points.map((p) => p[0]), y: points.map((p) => p[1]), name, type: "scatter", mode: "lines",
      line: { color: paint, width }, hovertemplate: `%{y:.3f} ${name}<extra></extra>`,
    });
    const traces = [line(chart.run, "DIDS", colour("accent"), 2)];
    if (chart.control.length) traces.unshift(line(chart.control, data.control.replace(/[<>&]/g, ""), colour("faint"), 1.5));
    Plotly.react(element, traces, layout({
      margin: { l: 4, r: 14, t: 8, b: 4 }, hovermode: "x unified",
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("rule"), font: { color: colour("ink"), size: 12 } },
      xaxis: axis({ showgrid: false, nticks: 4, tickformat: "~s", hoverformat: ".3s" }),
      yaxis: axis({ nticks: 4, tickformat: ".3~g", range: lossRange(chart) }),
    }), config);
  };

  const drawAll = () => {
    if (mixture.areas.length && mixture.tokens.length) drawMixture();
    document.querySelectorAll("[data-loss]").forEach(drawLoss);
  };
  drawAll();
  dark.addEventListener("change", drawAll);
  phone.addEventListener("change", drawAll);

  if (mixtureChart.on) {
    mixtureChart.on("plotly_hover", (hover) => readMixture(hover.xvals[0], hover.yvals[0], hover.event));
    mixtureChart.on("plotly_unhover", restMixture);
  }
  document.addEventListener("pointerover", (event) => {
    const cell = event.target.closest?.("[data-tip]");
    if (cell) {
      const box = cell.getBoundingClientRect();
      showTip(cell.dataset.tip, box.left + box.width / 2 - 14, box.top);
    } else if (!mixtureChart.contains(event.target)) hideTip();
  });

  const copy = document.getElementById("copy");
  if (navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById("config").textContent);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
  }
  document.documentElement.dataset.drawn = String(document.querySelectorAll(".main-svg").length);
})();
