"""What is sure is named, what is not is shown as such."""

from example_run import example_result

from dids.report import RunRecord
from dids.report.evidence import harms
from dids.report.groups import source_groups
from dids.report.page import report_html
from dids.report.tables import heat_map


def run_with(values):
    """The example with these cosines and errors of gsm8k/0 in its last round."""
    result = example_result()
    last = result["impact"][-1]
    last["cosine"] = {"gsm8k/0": {task: value for task, (value, _) in values.items()}}
    last["cosine_error"] = {"gsm8k/0": {task: error for task, (_, error) in values.items()}}
    return RunRecord.from_dict(result)


def test_harm_is_named_where_its_interval_is_below_zero():
    run = run_with({"piqa": (-0.3, 0.1), "boolq": (-0.1, 0.1), "mmlu": (0.3, 0.1)})
    assert harms(run) == ["piqa: harmed by gsm8k/0 (−.30\u00a0±\u00a0.10)."]
    assert "piqa: harmed by gsm8k/0" in report_html(run)


def test_nothing_is_named_without_errors():
    result = example_result()
    for impact in result["impact"]:
        del impact["cosine_error"]
    assert harms(RunRecord.from_dict(result)) == []
    result["impact"] = []
    assert harms(RunRecord.from_dict(result)) == []


def test_the_worst_harm_comes_first_and_long_lists_are_cut():
    result = example_result()
    names = list(result["domains"])[:6]
    result["impact"][-1]["cosine"] = {
        name: {"piqa": -0.2 - 0.01 * i, "boolq": -0.4} for i, name in enumerate(names)
    }
    result["impact"][-1]["cosine_error"] = {name: {"piqa": 0.01, "boolq": 0.01} for name in names}
    first, second = harms(RunRecord.from_dict(result))
    assert first.startswith("boolq: harmed by")
    assert second.startswith(f"piqa: harmed by {names[5]} (−.25\u00a0±\u00a0.01)")
    assert second.endswith("and 3 more.")


def test_cells_that_are_no_more_than_noise_say_so():
    run = run_with({"piqa": (-0.3, 0.1), "boolq": (-0.1, 0.1), "mmlu": (0.3, None)})
    heat = heat_map(run, source_groups(run))
    doubtful = dict(zip(heat.tasks, (cell.is_doubtful for cell in heat.rows[0].cells), strict=True))
    assert doubtful == {"piqa": False, "boolq": True, "mmlu": False}
    page = report_html(run)
    assert "boolq: −0.100 ± 0.100, no more than noise" in page
    assert "piqa: −0.300 ± 0.100&#34;" in page or 'piqa: −0.300 ± 0.100"' in page
