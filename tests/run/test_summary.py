"""What a run prints at its end."""

import io
import json

from rich.console import Console

from dids.run.progress import ConsoleProgress
from dids.run.summary import print_impact, print_summary


def printed(folder, control, weights=None):
    tasks = {"sums": 4.5, "verse": 3.6, "prompts": None}
    result = {
        "tasks": {task: {"test_loss": loss} for task, loss in tasks.items()},
        "control": control,
        "config": {
            "mixture": {"policy": "dids"},
            "tasks": {task: {"weight": weight} for task, weight in (weights or {}).items()},
        },
        "overhead": 0.25,
        "tokens": 1000,
        "seed": 0,
        "mixture": [],
        "domains": {},
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    text = io.StringIO()
    print_summary(folder, Console(file=text, width=100))
    return text.getvalue()


def test_the_mean_change_stands_beside_the_worst_tasks(tmp_path):
    losses = {"sums": 5.0, "verse": 3.0, "prompts": None}
    control = {
        "policy": "uniform",
        "tasks": {task: {"test_loss": loss} for task, loss in losses.items()},
    }
    text = printed(tmp_path, control)
    # 8.1 nats of 8 in all, as the row of the mean has it; 3.6 of 3 is 20 % more
    assert (
        "loss against uniform: +1.2% on average over the tasks, +20.0% on the worst (verse)" in text
    )
    assert "overhead 25.0% of training time, 1,000 tokens" in text


def test_tasks_count_by_their_weights_in_the_mean(tmp_path):
    losses = {"sums": 5.0, "verse": 3.0, "prompts": None}
    control = {
        "policy": "uniform",
        "tasks": {task: {"test_loss": loss} for task, loss in losses.items()},
    }
    text = printed(tmp_path, control, {"sums": 0.0, "verse": 2.0, "prompts": 1.0})
    # sums has no say: 3.6 of 3
    assert "+20.0% on weighted average over the tasks, +20.0% on the worst (verse)" in text
    assert printed(tmp_path, control, {"sums": 2.0, "verse": 2.0}) == printed(tmp_path, control)


def test_without_a_control_there_is_nothing_to_compare_with(tmp_path):
    text = printed(tmp_path, None)
    assert "4.5000" in text
    assert "against" not in text


def test_brackets_of_a_name_are_no_orders_to_the_terminal(tmp_path, capsys):
    impact = {"cosine": {"web [old]/0": {"sums [bold]": 0.5}}}
    (tmp_path / "impact.json").write_text(json.dumps(impact), encoding="utf-8")
    print_impact(tmp_path)
    shown = capsys.readouterr().out
    assert "web [old]/0" in shown
    assert "sums [bold]" in shown


def test_brackets_of_a_bars_title_are_no_orders_to_the_terminal(capsys):
    console = Console(force_terminal=True, width=100)
    with ConsoleProgress(console).bar("checking web [old]", 2) as advance:
        advance(2)
    assert "checking web [old]" in capsys.readouterr().out
