"""Opens a page in headless Chromium at two widths, moves the mouse, and reports what is there."""

import functools
import html
import http.server
import json
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PROBE = """<!doctype html><meta charset=utf-8>
<iframe id=phone width=390 height=844 src=PAGE></iframe>
<iframe id=desktop width=1200 height=900 src=PAGE></iframe>
<script>
const later = (ms) => new Promise((done) => setTimeout(done, ms));
// Moves the mouse over a chart, at fractions of its plotting area.
const hover = async (frame, chart, right, down) => {
  chart.scrollIntoView();
  await later(50);
  const drag = chart.querySelector(".nsewdrag");
  const box = drag.getBoundingClientRect();
  const at = { clientX: box.left + box.width * right, clientY: box.top + box.height * down,
               bubbles: true, view: frame.contentWindow };
  drag.dispatchEvent(new frame.contentWindow.MouseEvent("mouseover", at));
  drag.dispatchEvent(new frame.contentWindow.MouseEvent("mousemove", at));
  await later(200);
  const tip = frame.contentDocument.getElementById("tip");
  return tip.hidden ? "" : tip.textContent;
};
const fill = (page) => [...page.querySelectorAll(".js-fill")].map((area) => area.style.fill).join();
const ground = (page) => page.defaultView.getComputedStyle(page.body).backgroundColor;
const look = async (frame) => {
  while (!frame.contentDocument?.documentElement?.dataset.drawn) await later(50);
  const page = frame.contentDocument;
  const seen = {
    plots: page.querySelectorAll(".js-plotly-plot").length,
    charts: page.querySelectorAll(".chart").length,
    areas: page.querySelectorAll(".js-fill").length,
    lines: page.querySelectorAll("[data-loss] .js-line").length,
    width: page.documentElement.scrollWidth, view: page.documentElement.clientWidth,
  };
  LOOK
  const before = { fill: fill(page), ground: ground(page) };
  page.getElementById("theme").click();
  await later(100);
  seen.turned = { fill: fill(page) !== before.fill, ground: ground(page) !== before.ground };
  page.getElementById("theme").click();
  await later(100);
  seen.back = { fill: fill(page) === before.fill, ground: ground(page) === before.ground };
  return seen;
};
window.addEventListener("load", async () => {
  const frames = [...document.querySelectorAll("iframe")];
  const seen = {};
  for (const frame of frames) seen[frame.id] = await look(frame);
  document.body.innerHTML = "<pre id=seen></pre>";
  document.getElementById("seen").textContent = JSON.stringify(seen);
});
</script>"""


def look_at(page: Path, look: str, *, is_dark: bool = False) -> tuple[dict[str, Any], list[str]]:
    """What a page shows at either width, and what the browser complains about.

    ``look`` is JavaScript that adds to ``seen``; it has ``frame``, ``page`` and ``hover``. What
    the page is made of is made everywhere, and the test skipped here where there is no Chromium.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    folder = page.parent
    probe = PROBE.replace("PAGE", page.name).replace("LOOK", look)
    (folder / "probe.html").write_text(probe, encoding="utf-8")
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory() as profile,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={profile}", "--virtual-time-budget=30000", "--enable-logging=stderr",
            f"--blink-settings=preferredColorScheme={0 if is_dark else 1}", "--dump-dom",
            f"http://127.0.0.1:{server.server_port}/probe.html",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        server.shutdown()
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page never finished: {done.stdout[:300]} {done.stderr[-2000:]}"
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(found.group(1))), complaints


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass
