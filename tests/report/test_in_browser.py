"""The pages in a real browser: drawn, quiet, answering to the mouse, narrow enough for a phone."""

import numpy as np
import pytest
from browser import look_at
from example_run import ROUNDS, WITH_LOSS, example_result

from dids.audit.audit import METRICS, Audit, AuditSettings
from dids.audit.page import write_page
from dids.report import RunRecord, write_comparison, write_report

# Near the bottom of the mixture, in the middle of the run: the domain with the largest final share.
LOOK_AT_A_RUN = """
  seen.dots = page.querySelectorAll("#map-chart .points path").length;
  seen.moves = page.querySelectorAll("#why .moves > li").length;
  seen.tip = await hover(frame, page.getElementById("mixture-chart"), 0.5, 0.97);
  seen.when = page.getElementById("mixture-when").textContent;
  seen.loss = await hover(frame, page.querySelector("[data-loss]"), 0.5, 0.5);
  seen.read = page.querySelectorAll("[data-loss] .hoverlayer .legendtext, [data-loss] .hovertext").length;
  const dot = page.querySelector("#map-chart .points path").getBoundingClientRect();
  page.getElementById("map-chart").scrollIntoView();
  const plot = page.querySelector("#map-chart .nsewdrag").getBoundingClientRect();
  const place = page.querySelector("#map-chart .points path").getBoundingClientRect();
  seen.sample = await hover(frame, page.getElementById("map-chart"),
    (place.left + place.width / 2 - plot.left) / plot.width,
    (place.top + place.height / 2 - plot.top) / plot.height);
  const faint = () => [...page.querySelectorAll("#map-chart .points path")]
    .filter((path) => Number(path.style.opacity) < 0.1).length;
  const name = page.querySelector("#map-names button");
  name.dispatchEvent(new frame.contentWindow.PointerEvent("pointerover", { bubbles: true }));
  await later(100);
  seen.faint = faint();
  page.getElementById("map-names").dispatchEvent(new frame.contentWindow.PointerEvent("pointerleave"));
  await later(100);
  seen.faintAfter = faint();
"""  # noqa: E501
LOOK_AT_A_COMPARISON = """
  seen.tip = await hover(frame, page.querySelector("[data-mixture]"), 0.5, 0.97);
"""
AUDITED = ("web", "code", "maths", "</script><script>throw new Error('escaped')</script>")
LOOK_AT_AN_AUDIT = """
  seen.points = page.querySelectorAll("[data-panel] .points path").length;
  const panel = page.querySelector("[data-panel]");
  panel.scrollIntoView();
  const plot = panel.querySelector(".nsewdrag").getBoundingClientRect();
  const place = panel.querySelectorAll(".points path")[1].getBoundingClientRect();
  await hover(frame, panel,
    (place.left + place.width / 2 - plot.left) / plot.width,
    (place.top + place.height / 2 - plot.top) / plot.height);
  seen.read = panel.querySelector(".hovertext")?.textContent ?? "";
"""
WIDTHS = pytest.mark.parametrize("width", ["phone", "desktop"])
THEMES = {"params": [False, True], "ids": ["light", "dark"]}


def hostile_result():
    result = example_result()
    hostile = "</script><script>throw new Error('escaped')</script><img src=x onerror=alert(1)>"
    result["domains"]["gsm8k/0"]["examples"].append(hostile)
    result["feature_map"]["points"][0]["text"] = hostile
    result["warnings"].append(hostile)
    return result


@pytest.fixture(scope="module", **THEMES)
def seen(tmp_path_factory, request):
    page = tmp_path_factory.mktemp("report") / "report.html"
    write_report(page, RunRecord.from_dict(hostile_result()))
    return look_at(page, LOOK_AT_A_RUN, is_dark=request.param)


@pytest.fixture(scope="module", **THEMES)
def compared(tmp_path_factory, request):
    page = tmp_path_factory.mktemp("comparison") / "comparison.html"
    runs = [(f"runs/{i}", RunRecord.from_dict({**hostile_result(), "seed": i})) for i in range(3)]
    write_comparison(page, runs)
    return look_at(page, LOOK_AT_A_COMPARISON, is_dark=request.param)


@pytest.fixture(scope="module", **THEMES)
def audited(tmp_path_factory, request):
    page = tmp_path_factory.mktemp("audit") / "audit.html"
    generator = np.random.default_rng(0)
    kernel_kt, drop_rkt = generator.normal(size=(4, 3)), generator.normal(size=(2, 4, 3))
    kernels = {metric: (-1) ** number * kernel_kt for number, metric in enumerate(METRICS)}
    settings = AuditSettings()
    write_page(page, Audit(settings, "fisher", AUDITED, ("a", "b", "<i>"), kernels, drop_rkt))
    return look_at(page, LOOK_AT_AN_AUDIT, is_dark=request.param)


def test_the_console_stays_silent(seen, compared, audited):
    assert seen[1] == []
    assert compared[1] == []
    assert audited[1] == []


@WIDTHS
def test_every_chart_is_drawn(seen, width):
    shown = seen[0][width]
    assert shown["plots"] == shown["charts"] == 2 + len(WITH_LOSS)
    assert shown["areas"] == 24
    assert shown["lines"] == 2 * len(WITH_LOSS)
    assert shown["dots"] == 24 * 40
    assert shown["moves"] > 5


@WIDTHS
def test_nothing_scrolls_sideways(seen, compared, audited, width):
    for shown in (seen[0][width], compared[0][width], audited[0][width]):
        assert shown["width"] <= shown["view"]


@WIDTHS
def test_hovering_names_the_domain_and_the_round(seen, width):
    assert "gsm8k/2" in seen[0][width]["tip"]
    assert f"Round {ROUNDS // 2}" in seen[0][width]["when"]


@WIDTHS
def test_hovering_reads_the_losses(seen, width):
    assert seen[0][width]["read"] > 0


@WIDTHS
def test_the_map_shows_samples_and_where_a_domain_lies(seen, width):
    shown = seen[0][width]
    assert "Sample " in shown["sample"]
    assert shown["faint"] == 23 * 40
    assert shown["faintAfter"] == 0


@WIDTHS
def test_the_switch_turns_page_and_charts_and_back(seen, compared, width):
    for shown in (seen[0][width], compared[0][width]):
        assert shown["turned"] == {"fill": True, "ground": True}
        assert shown["back"] == {"fill": True, "ground": True}


@WIDTHS
def test_a_comparison_draws_a_mixture_a_run_and_a_line_a_run(compared, width):
    shown = compared[0][width]
    assert shown["plots"] == shown["charts"] == 3 + len(WITH_LOSS)
    assert shown["lines"] == 3 * len(WITH_LOSS)
    assert "in round 12" in shown["tip"]


@WIDTHS
def test_an_audit_draws_a_point_a_domain_and_names_it(audited, width):
    shown = audited[0][width]
    assert shown["plots"] == shown["charts"] == 3
    assert shown["points"] == 3 * len(AUDITED)
    assert AUDITED[1] in shown["read"]
    assert "loss falls by" in shown["read"]
    assert shown["turned"]["ground"]
    assert shown["back"]["ground"]
