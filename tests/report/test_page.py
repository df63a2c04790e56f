"""The page is one self-contained file, and no text of the data becomes code."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from example_run import example_result
from plotly.offline import get_plotlyjs

from dids.report import RunRecord, write_report
from dids.report.page import report_html

HOSTILE = "</script><script>alert(1)</script>\"'<img src=x onerror=alert(2)>"


def page_of(result):
    """The page without plotly's own code, which is full of markup."""
    html = report_html(RunRecord.from_dict(result))
    assert html.count(get_plotlyjs()) == 1
    return html.replace(get_plotlyjs(), "")


def hostile_result():
    result = example_result()
    result["domains"][HOSTILE] = {
        **result["domains"].pop("gsm8k/0"),
        "examples": [HOSTILE],
        "source_counts": {HOSTILE: 5},
    }
    for mixture in result["mixture"]:
        mixture["probability"][HOSTILE] = mixture["probability"].pop("gsm8k/0")
    for impact in result["impact"]:
        impact["cosine"] = {**impact["cosine"], HOSTILE: impact["cosine"]["gsm8k/1"]}
    result["tasks"][HOSTILE] = {**result["tasks"]["gsm8k"], "lm_eval": {HOSTILE: 0.5}}
    result["control"]["policy"] = HOSTILE
    result["warnings"] = [HOSTILE]
    result["findings"] = [{"severity": HOSTILE, "sentence": HOSTILE, "advice": HOSTILE}]
    result["feature_map"]["points"][0]["text"] = HOSTILE
    result["content"] = {HOSTILE: HOSTILE}
    result["bad_records"] = {HOSTILE: [{"file": HOSTILE, "line": 1, "reason": HOSTILE}]}
    result["versions"] = {HOSTILE: HOSTILE}
    result["config"] = {"run": HOSTILE, HOSTILE: HOSTILE}
    result["time_s"] = {HOSTILE: 1.0}
    return result


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def tags_of(html):
    parser = Tags()
    parser.feed(html)
    return parser.seen


def test_no_text_of_the_data_becomes_markup():
    page = page_of(hostile_result())
    assert "alert(1)" in page
    tags = tags_of(page)
    assert "img" not in [tag for tag, _ in tags]
    assert not any(name.startswith("on") for _, attrs in tags for name in attrs)
    assert [tag for tag, _ in tags].count("script") == 4  # data, plotly, shared, ours


def test_what_the_check_found_is_said_once_and_with_advice():
    result = example_result()
    result["warnings"] = [result["findings"][0]["sentence"], "Another one."]
    page = page_of(result)
    assert page.count("boolq: 3 test items also stand") == 1
    assert "Remove these records, or allow the leak." in page
    assert "4 warnings" in page  # two found, one of the run, one poor fit


def test_only_our_scripts_may_run():
    html = report_html(RunRecord.from_dict(hostile_result()))
    scripts = re.findall(r"^<script>(.*?)</script>$", html, re.DOTALL | re.MULTILINE)
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html).group(1)
    policy = policy.replace("&#39;", "'")
    assert re.findall(r"sha256-([^']+)", policy) == hashes
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2]


def test_nothing_is_loaded_from_elsewhere():
    for tag, attrs in tags_of(page_of(example_result())):
        assert "src" not in attrs, tag
        assert tag != "link"
        assert attrs.get("href", "#").startswith("#")


def test_the_same_run_gives_the_same_page():
    assert page_of(example_result()) == page_of(example_result())


def test_a_report_is_written_whole_and_replaces_an_older_one(tmp_path):
    path = tmp_path / "new" / "report.html"
    for _ in range(2):
        write_report(path, RunRecord.from_dict(example_result()))
    assert path.read_text("utf-8").rstrip().endswith("</html>")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    "change",
    [
        {"control": None, "impact": [], "time_s": {}, "overhead": None},
        {"tasks": {}, "control": None},
        {"domains": {}, "mixture": [], "impact": []},
        {"warnings": [], "bad_records": {}, "versions": {}, "config": {}, "budget_tokens": None},
    ],
)
def test_what_a_run_lacks_is_left_out(change):
    page = page_of({**example_result(), **change})
    assert "None" not in re.sub(
        r"<script.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL
    )


def test_what_the_model_was_before_training_stands_first():
    result = example_result()
    before = {"test_loss": 7.654, "test_loss_se": 0.01, "accuracy": 0.123, "accuracy_norm": 0.234}
    page = page_of({**result, "base": dict.fromkeys(result["tasks"], before)})
    for numbers in ("7.654", "12.3\u202f%", "23.4\u202f%"):
        assert numbers in page
        assert numbers not in page_of(result)
    assert page.count(">Before</th>") == 3
    assert "Before</th>" not in page_of(result)
    cell = re.compile(r'<t[hd](?:[^>]*?colspan="(\d+)")?[^>]*>')
    for table in re.findall(r'<table class="tasks">.*?</table>', page, re.DOTALL):
        rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
        assert len({sum(int(span or 1) for span in cell.findall(row)) for row in rows}) == 1


def test_a_loss_that_is_no_number_does_not_break_the_charts():
    result = example_result()
    result["tasks"]["gsm8k"]["validation_history"][3][1] = float("nan")
    result["tasks"]["gsm8k"]["test_loss"] = float("nan")
    data = re.search(r'id="data">(.*?)</script>', page_of(result), re.DOTALL).group(1)
    assert "NaN" not in data


def test_what_repeats_a_run_installs_packages_alone():
    result = example_result()
    result["versions"] = {"run_folder": "1", "python": "3.11", "torch": "2.13.0+cpu", "numpy": "2"}
    assert re.findall(r"pip install .*", page_of(result)) == ["pip install torch==2.13.0 numpy==2"]
