// What every page's charts share: the reader's colours, the switch between light and dark, the tip, numbers.
const page = (() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const phone = window.matchMedia("(max-width: 640px)");

  // Light or dark: the system's, until the reader says otherwise; a file's storage may be forbidden.
  const chosen = {
    get: () => { try { return localStorage.getItem("dids-theme"); } catch { return null; } },
    set: (theme) => {
      try {
        if (theme) localStorage.setItem("dids-theme", theme);
        else localStorage.removeItem("dids-theme");
      } catch { /* then it holds for this page alone */ }
    },
  };
  let theme = chosen.get();
  const isDark = () => (theme ? theme === "dark" : prefersDark.matches);
  const painters = [];
  const paint = () => {
    root.style.colorScheme = theme || "";
    for (const painter of painters) painter();
    root.dataset.drawn = String(document.querySelectorAll(".main-svg").length);
  };
  const onPaint = (painter) => painters.push(painter);
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const turned = isDark() ? "light" : "dark";
    theme = (turned === "dark") === prefersDark.matches ? null : turned;
    chosen.set(theme);
    paint();
  });
  prefersDark.addEventListener("change", paint);
  phone.addEventListener("change", paint);

  const colour = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
  const ofTheme = (pair) => (isDark() ? pair.dark : pair.light);

  const percent = (share) => `${(100 * share).toFixed(1)}\u202f%`;
  const tokens = (n) => {
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (n >= size) return `${+(n / size).toPrecision(3)}\u202f${unit}`;
    }
    return String(n);
  };
  // Plotly reads a little markup in names.
  const plain = (name) => String(name).replace(/[<>&]/g, "");

  const tip = document.getElementById("tip");
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
  document.addEventListener("pointerover", (event) => {
    const cell = event.target.closest?.("[data-tip]");
    if (cell) {
      const box = cell.getBoundingClientRect();
      showTip(cell.dataset.tip, box.left + box.width / 2 - 14, box.top);
    } else if (!event.target.closest?.("[data-own-tip]")) hideTip();
  });

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
  const draw = (element, traces, more) => Plotly.react(element, traces, layout(more), config);

  // Stacked areas of a mixture: step lines, because a mixture holds until the next round begins.
  const drawMixture = (element, mixture, more) => {
    const end = Math.max(mixture.end, mixture.tokens[mixture.tokens.length - 1] || 0);
    const x = [...mixture.tokens, end];
    const traces = mixture.areas.map((area) => ({
      x, y: [...area.shares, area.shares[area.shares.length - 1]], name: plain(area.name),
      type: "scatter", mode: "lines", stackgroup: "mixture", hoverinfo: "none",
      fillcolor: ofTheme(area),
      line: { width: 0.5, color: colour("surface"), shape: "hv" },
    }));
    draw(element, traces, {
      margin: { l: 8, r: 14, t: 10, b: 8 },
      xaxis: axis({
        range: [mixture.tokens[0] || 0, end], showgrid: false, nticks: phone.matches ? 4 : 8, tickformat: "~s",
        title: { text: "tokens trained on", font: { size: 12 }, standoff: 8 },
        showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid",
        spikecolor: colour("ink"), spikesnap: "cursor", ...more?.xaxis,
      }),
      yaxis: axis({ range: [0, 1], tickformat: ".0%", tickvals: [0, 0.25, 0.5, 0.75, 1], showgrid: false, ...more?.yaxis }),
    });
  };
  // The round that holds at x, and the area that lies under (x, y).
  const areaAt = (mixture, x, y) => {
    let index = 0;
    mixture.tokens.forEach((start, i) => { if (start <= x) index = i; });
    let below = 0;
    const area = mixture.areas.find((area) => (below += area.shares[index]) >= y) || null;
    return { index, area };
  };

  // Lines of losses over tokens; the steep beginning would press everything after it flat.
  const lossRange = (lines) => {
    const points = lines.flatMap((line) => line.points).filter((p) => p[1] !== null);
    const end = Math.max(...points.map((p) => p[0]));
    const late = points.filter((p) => p[0] >= end / 4).map((p) => p[1]);
    if (!late.length) return undefined;
    const low = Math.min(...late);
    const room = Math.max(Math.max(...late) - low, 0.02) * 0.08;
    return [low - room, Math.max(...late) + room];
  };
  const drawLosses = (element, lines, marks = []) => {
    const traces = lines.map((line) => ({
      x: line.points.map((p) => p[0]), y: line.points.map((p) => p[1]), name: plain(line.name),
      type: "scatter", mode: "lines", line: { color: line.colour, width: line.width },
      hovertemplate: `%{y:.3f} ${plain(line.name)}<extra></extra>`,
    }));
    for (const mark of marks) {
      traces.push({
        x: [mark[0]], y: [mark[1]], type: "scatter", mode: "markers", hoverinfo: "skip",
        marker: { symbol: "circle-open", size: 9, line: { width: 2 }, color: colour("worse") },
      });
    }
    draw(element, traces, {
      margin: { l: 4, r: 14, t: 8, b: 4 }, hovermode: "x unified",
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("rule"), font: { color: colour("ink"), size: 12 } },
      xaxis: axis({ showgrid: false, nticks: 4, tickformat: "~s", hoverformat: ".3s" }),
      yaxis: axis({ nticks: 4, tickformat: ".3~g", range: lossRange(lines) }),
    });
  };

  for (const copy of document.querySelectorAll(".copy")) {
    if (!navigator.clipboard) break;
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(copy.dataset.copies).textContent);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
  }

  return { data, phone, onPaint, paint, colour, ofTheme, percent, tokens, plain, showTip, hideTip, axis, draw, drawMixture, areaAt, drawLosses };
})();
