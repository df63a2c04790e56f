"""Runs are compared where they can be, and where not the page refuses or says so."""

import copy
import json
import re
import sys

import pytest
from example_run import WITH_LOSS, example_result

from dids import cli
from dids.errors import InputError
from dids.report import RunRecord, write_comparison
from dids.report.runs import NamedRun, cautions, field_differences, mean_row, task_rows
from dids.report.runs_page import comparison_html, headline, source_shares, story


def changed(**places):
    """The example with fields set by a path such as ``tasks__piqa__test_loss``."""
    result = copy.deepcopy(example_result())
    for place, value in places.items():
        *way, last = place.split("__")
        inner = result
        for key in way:
            inner = inner[key]
        inner[last] = value
    return RunRecord.from_dict(result)


def pair(**places):
    return [NamedRun("a", changed()), NamedRun("b", changed(**places))]


def with_losses(*losses):
    runs = []
    for i, by_task in enumerate(losses):
        result = example_result()
        result["tasks"] = {
            task: {"test_loss": loss, "test_loss_se": 0.01, "num_test": 5}
            for task, loss in by_task.items()
        }
        runs.append(NamedRun(f"run{i}", RunRecord.from_dict(result)))
    return runs


def test_changes_are_against_the_first_run():
    runs = with_losses({"x": 2.0, "y": 4.0}, {"x": 1.9, "y": 4.01})
    x, y = task_rows(runs)
    assert x.cells[0].change is None
    assert x.cells[1].change == pytest.approx(-0.05)
    assert (x.cells[1].is_clear, y.cells[1].is_clear) == (True, False)
    assert [cell.is_best for cell in x.cells] == [False, True]
    mean = mean_row([x, y])
    assert [cell.result.test_loss for cell in mean.cells] == pytest.approx([3.0, 2.955])
    assert mean.cells[1].change == pytest.approx(-0.015)


def test_tasks_count_by_their_weights_in_the_mean():
    runs = with_losses({"x": 2.0, "y": 4.0}, {"x": 1.0, "y": 4.0})
    x, y = task_rows(runs)
    for row, weight in ((x, 3.0), (y, 1.0)):
        for cell in row.cells:
            object.__setattr__(cell.result, "weight", weight)
    mean = mean_row([x, y])
    assert [cell.result.test_loss for cell in mean.cells] == pytest.approx([2.5, 1.75])
    assert mean.cells[0].result.test_loss_se == pytest.approx(0.01 * (0.75**2 + 0.25**2) ** 0.5)


def test_the_headline_names_the_best_and_the_story_counts():
    runs = with_losses({"x": 2.0, "y": 4.0}, {"x": 1.9, "y": 4.01}, {"x": 2.5, "y": 4.5})
    rows = task_rows(runs)
    assert headline(runs, mean_row(rows)) == (
        "run1 has the lowest mean test loss, 2.955, 1.5\u202f% below run0"
    )
    assert story(runs, rows)[0] == (
        "<b>run1</b> against run0: lower test loss on <b>1 of 2 tasks</b>, beyond two standard "
        "errors on 1; higher beyond them on 0."
    )
    assert "on <b>0 of 2 tasks</b>" in story(runs, rows)[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"seed": 3}, "Seeds differ (a 0, b 3)"),
        ({"tokens": 1_000_000}, "Budgets differ (a 2.00\u202fM, b 1.00\u202fM tokens)"),
        ({"config__model": {"name": "other"}}, "Models differ"),
        (
            {"config__tasks": {"piqa": {"weight": 2.0}}},
            "The tasks' weights differ; the means are by those of a.",
        ),
        ({"content__gsm8k": "0" * 63 + "x"}, "The training data differ: gsm8k."),
        (
            {"tasks__piqa__num_test": 3},
            "Not tested in all runs, or on other items: piqa. The means leave it out.",
        ),
    ],
)
def test_what_runs_do_not_share_is_said(change, said):
    found = cautions(pair(**change))
    assert len(found) == (0 if said is None else 1)
    assert all(said in sentence for sentence in found)


def test_a_task_that_only_one_run_has_is_left_out_of_the_means():
    result = example_result()
    del result["tasks"]["gsm8k"]
    runs = [NamedRun("a", changed()), NamedRun("b", RunRecord.from_dict(result))]
    rows = {row.task: row for row in task_rows(runs)}
    assert not rows["gsm8k"].is_comparable
    assert not rows["ifeval"].is_comparable  # it has no loss
    shown = [rows[task] for task in WITH_LOSS if task != "gsm8k"]
    expected = sum(row.cells[0].result.test_loss for row in shown) / len(shown)
    assert mean_row(list(rows.values())).cells[0].result.test_loss == pytest.approx(expected)


def test_the_fields_that_differ_are_listed_but_not_the_folder():
    found = field_differences(pair(config__run="runs/b", config__mixture={"policy": "uniform"}))
    assert {(d.field, d.values) for d in found} == {
        ("mixture.policy", ("dids", "uniform")), ("mixture.rounds", ("25", "–")),
    }  # fmt: skip


def test_a_source_has_one_colour_and_its_share_in_every_run():
    runs = pair()
    shares = source_shares(runs)
    assert sum(share.last[0] for share in shares) == pytest.approx(1.0)
    by_source = {share.source: share for share in shares}
    last = runs[0].record.mixture[-1].probability
    expected = sum(last[f"gsm8k/{i}"] for i in range(3))
    assert by_source["gsm8k"].last == pytest.approx((expected, expected))


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([("r/a", changed())], "two different runs"),
        ([("r/a", changed()), ("r/a", changed())], "two different runs"),
        (
            [("r/a", changed()), ("r/b", changed(tokenizer_hash="0"))],
            "a and b have different tokenizers",
        ),
        (
            [("r/a", changed()), ("r/b", changed(tasks={"other": {"test_loss": 1.0}}))],
            "no task in common",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_and_nothing_written(tmp_path, runs, said):
    with pytest.raises(InputError, match=said):
        write_comparison(tmp_path / "comparison.html", runs)
    assert list(tmp_path.iterdir()) == []


def test_the_page_shows_every_run_and_task():
    page = comparison_html([("r/a", changed()), ("r/b", changed(seed=1)), ("r/c", changed(seed=2))])
    body = re.sub(r"<script.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    for word in ("a", "b", "c", *WITH_LOSS):
        assert f">{word}<" in body.replace(" ", "").replace("<wbr>", "") or word in body
    assert "None" not in body
    assert body.count('data-mixture="') == 3


def test_folders_of_one_name_are_told_apart():
    page = comparison_html([("x/run", changed()), ("y/run", changed(seed=1))])
    assert "x/run" in page
    assert "y/run" in page


@pytest.fixture
def folders(tmp_path):
    """Two folders of finished runs with other seeds."""
    for seed in (0, 1):
        (tmp_path / f"seed{seed}").mkdir()
        result = json.dumps({**example_result(), "seed": seed})
        (tmp_path / f"seed{seed}" / "result.json").write_text(result, encoding="utf-8")
    return [tmp_path / "seed0", tmp_path / "seed1"]


def called(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dids", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def test_the_command_writes_the_page_where_it_says(folders, monkeypatch, capsys, tmp_path):
    assert called(monkeypatch, "report", *folders) == 0
    assert capsys.readouterr().out.strip() == str(folders[0] / "comparison.html")
    assert "Seeds differ (seed0 0, seed1 1)" in (folders[0] / "comparison.html").read_text("utf-8")
    assert called(monkeypatch, "report", *folders, "--out", tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").exists()


def test_a_run_that_is_not_finished_is_named(folders, monkeypatch, capsys):
    (folders[1] / "result.json").unlink()
    assert called(monkeypatch, "report", *folders) == 2
    error = capsys.readouterr().err
    assert "seed1/result.json: no such file; a finished run writes it." in error
    assert not (folders[0] / "comparison.html").exists()


def test_one_run_has_its_page_in_its_folder(folders, monkeypatch, capsys):
    assert called(monkeypatch, "report", folders[0], "--out", "page.html") == 2
    assert "--out is for comparisons" in capsys.readouterr().err
