"""What a run prints at its end."""

import io
import json

from rich.console import Console

from dids.run.progress import ConsoleProgress
from dids.run.summary import print_impact, print_summary


def printed(folder, control, weights=None, base=None):
    tasks = {"sums": 4.5, "verse": 3.6, "prompts": None}
    result = {
        "tasks": {task: {"test_loss": loss} for task, loss in tasks.items()},
        "control": control,
        "base": base and {task: {"test_loss": loss} for task, loss in base.items()},
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


def test_what_the_model_was_before_stands_beside_what_it_is(tmp_path):
    base = {"sums": 5.0, "verse": 3.0, "prompts": None}
    text = printed(tmp_path, None, base=base)
    assert "task loss before loss dids" in " ".join(text.split())
    assert "mean 4.0000 4.0500" in " ".join(text.split())
    assert (
        "loss against the model before training: +1.2% on average over the tasks, "
        "+20.0% on the worst (verse)" in text
    )
    control = {"policy": "uniform", "tasks": {"sums": {"test_loss": 4.0}}}
    both = " ".join(printed(tmp_path, control, base=base).split())
    assert "task loss before loss uniform loss dids" in both
    assert "sums 5.0000 4.0000 4.5000" in both
    assert "verse 3.0000 – 3.6000" in both
    # of the tasks that all three have
    assert "mean 5.0000 4.0000 4.5000" in both


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
