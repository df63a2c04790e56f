"""The sentences say what the numbers say."""

import pytest
from example_run import example_result

from dids.report import RunRecord
from dids.report.against_control import mean_loss, task_comparisons
from dids.report.story import headline, stability, story


def run_with(tasks, control, **more):
    result = {
        **example_result(),
        "tasks": {name: {"test_loss": loss, "test_loss_se": 0.01} for name, loss in tasks.items()},
        "control": control
        and {
            "policy": "uniform",
            "tasks": {n: {"test_loss": loss, "test_loss_se": 0.01} for n, loss in control.items()},
        },
        **more,
    }
    return RunRecord.from_dict(result)


def test_the_headline_is_the_mean_against_the_control():
    run = run_with({"a": 1.9, "b": 3.8}, {"a": 2.0, "b": 4.0})
    assert headline(run) == "Mean test loss 2.850, 5.0\u202f% below uniform"
    assert mean_loss(task_comparisons(run)).change == pytest.approx(-0.05)


def test_the_mean_takes_only_tasks_that_both_have_a_loss_for():
    run = run_with({"a": 1.9, "b": None, "c": 9.0}, {"a": 2.0, "b": 4.0})
    assert headline(run) == "Mean test loss 1.900, 5.0\u202f% below uniform"


def test_tasks_count_by_their_weights():
    config = {"tasks": {"a": {"weight": 3.0}, "b": {"weight": 1.0}, "c": {"weight": 0.0}}}
    losses = {"a": 1.0, "b": 3.0, "c": 9.0}
    run = run_with(losses, {"a": 2.0, "b": 4.0, "c": 1.0}, config=config)
    # (3 * 1 + 3) / 4 of (3 * 2 + 4) / 4
    assert headline(run) == "Weighted mean test loss 1.500, 40.0\u202f% below uniform"
    alone = run_with(losses, None, config=config)
    assert headline(alone) == "Weighted mean test loss 1.500"
    level = {"tasks": {name: {"weight": 0.0} for name in "abc"}}
    assert headline(run_with(losses, None, config=level)) == "Mean test loss 4.333"


@pytest.mark.parametrize(
    ("tasks", "control", "expected"),
    [
        ({"a": 2.2}, {"a": 2.0}, "Mean test loss 2.200, 10.0\u202f% above uniform"),
        ({"a": 2.0}, {"a": 2.0}, "Mean test loss 2.000, the same as uniform"),
        ({"a": 2.0}, None, "Mean test loss 2.000"),
        ({"a": None}, None, "Trained on 2.00\u202fM tokens"),
    ],
)
def test_the_headline_fits_the_run(tasks, control, expected):
    assert headline(run_with(tasks, control)) == expected


def base_of(losses):
    return {name: {"test_loss": loss, "test_loss_se": 0.01} for name, loss in losses.items()}


def test_the_model_before_training_stands_in_for_a_control_and_beside_one():
    tasks, base = {"a": 1.9, "b": 4.2}, base_of({"a": 3.8, "b": 4.0})
    alone = run_with(tasks, None, base=base)
    assert headline(alone) == ("Mean test loss 3.050, 21.8\u202f% below the model before training")
    said = "Test loss is lower than before training on <b>1 of 2 tasks</b>."
    assert story(alone)[1] == f"No control run was made. {said}"
    both = run_with(tasks, {"a": 2.0, "b": 4.1}, base=base)
    assert headline(both) == "Mean test loss 3.050, the same as uniform"
    assert story(both)[1].endswith(f"<code>b</code>. {said}")


def test_a_mean_before_training_is_over_the_tasks_of_the_mean_or_none():
    tasks = {"a": 1.9, "b": 4.2}
    losses = mean_loss(task_comparisons(run_with(tasks, None, base=base_of({"a": 3.8}))))
    assert losses.base is None
    config = {"tasks": {"a": {"weight": 3.0}, "b": {"weight": 1.0}}}
    both = run_with(tasks, None, base=base_of({"a": 2.0, "b": 4.0}), config=config)
    assert mean_loss(task_comparisons(both)).base == pytest.approx(2.5)


def test_the_story_has_five_sentences_with_the_numbers():
    run = run_with(
        {"a": 1.9, "b": 3.8, "c": 2.2}, {"a": 2.0, "b": 4.2, "c": 2.0}, overhead=0.0731,
        time_s={"train": 100.0, "control": 20.0},
    )  # fmt: skip
    sentences = story(run)
    assert len(sentences) == 5
    assert "2.00\u202fM</b> tokens in 25 rounds, drawn from 24 domains" in sentences[0]
    assert "2 of 3 tasks" in sentences[1]
    assert "−9.5\u202f% on <code>b</code> to +10.0\u202f% on <code>c</code>" in sentences[1]
    assert "<code>gsm8k/2</code> (4.2\u202f%" in sentences[2]
    assert "Only <code>mathqa_dev</code> was repeated, for <b>0.9</b> passes" in sentences[3]
    assert "7.3\u202f%" in sentences[4]
    assert "2\u202fmin 0\u202fs" in sentences[4]


def test_the_agreement_of_two_seeds_is_said_where_it_was_measured():
    result = example_result()
    said = stability(RunRecord.from_dict(result))
    assert "index of <b>0.61</b>" in said
    assert "information of <b>0.78</b> on 16.8\u202fk samples" in said
    assert stability(RunRecord.from_dict({**result, "stability": None})) == ""


def test_the_mixture_that_never_moved_is_said_to():
    result = example_result()
    run = RunRecord.from_dict({**result, "mixture": result["mixture"][:1] * 5})
    assert "The mixture stayed as it began." in story(run)
