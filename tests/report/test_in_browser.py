"""The report in a real browser: drawn, quiet, answering to the mouse, narrow enough for a phone."""

import pytest
from browser import CHROMIUM, look_at
from example_run import ROUNDS, WITH_LOSS, example_result

from dids.report import RunRecord, write_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def seen(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("report")
    result = example_result()
    hostile = "</script><script>throw new Error('escaped')</script><img src=x onerror=alert(1)>"
    result["domains"]["gsm8k/0"]["examples"].append(hostile)
    result["warnings"].append(hostile)
    write_report(folder / "report.html", RunRecord.from_dict(result))
    return look_at(folder, is_dark=request.param)


def test_the_console_stays_silent(seen):
    assert seen[1] == []


@pytest.mark.parametrize("width", ["phone", "desktop"])
def test_every_chart_is_drawn(seen, width):
    assert seen[0][width]["plots"] == 1 + len(WITH_LOSS)
    assert seen[0][width]["areas"] == 24
    assert seen[0][width]["lines"] == 2 * len(WITH_LOSS)


@pytest.mark.parametrize("width", ["phone", "desktop"])
def test_nothing_scrolls_sideways(seen, width):
    assert seen[0][width]["width"] <= seen[0][width]["view"]


@pytest.mark.parametrize("width", ["phone", "desktop"])
def test_hovering_names_the_domain_and_the_round(seen, width):
    # Near the bottom, in the middle of the run: the domain with the largest final share.
    assert "gsm8k/2" in seen[0][width]["tip"]
    assert f"Round {ROUNDS // 2}" in seen[0][width]["when"]
