"""Reasons say what the policy explained and what was measured, and nothing where nothing was."""

import pytest
from example_run import example_result

from dids.report import RunRecord
from dids.report.reasons import domain_reasons, held_mixtures


def run_with(cosine=None, explanations=()):
    result = example_result()
    impact = [{"round": 1, "step": 1, "cosine": {"gsm8k/0": cosine}}] if cosine else []
    mixture = [
        {**mixture, "explanation": explanation}
        for mixture, explanation in zip(result["mixture"], explanations, strict=False)
    ]
    return RunRecord.from_dict({**result, "impact": impact, "mixture": mixture})


@pytest.mark.parametrize(
    ("cosine", "expected"),
    [
        ({"a": 0.4, "b": 0.2}, "It helps a the most, with an impact of .40."),
        ({"a": 0.4, "b": -0.2}, "It helps a the most (.40) and works against b (\u2212.20)."),
        ({"a": -0.4, "b": -0.2}, "It helps no task; its best impact is \u2212.20, on b."),
        ({"a": None, "b": float("nan")}, None),
    ],
)
def test_the_task_that_a_domain_helps_is_named(cosine, expected):
    assert domain_reasons(run_with(cosine), "gsm8k/0") == ([expected] if expected else [])


def test_the_last_decision_and_what_repeats_took_are_told():
    numbers = {"best": 0.125, "marginal_value": 0.9, "utility": 1.0}
    explanations = [{}, {"domains": {"gsm8k/0": numbers}}, {"note": "nothing measured"}]
    reasons = domain_reasons(run_with(explanations=explanations), "gsm8k/0")
    assert "gives it 12.5\u202f%" in reasons[0]
    assert reasons[1] == "Repeats have taken 10.0\u202f% off what it can still give."


@pytest.mark.parametrize(
    ("pull", "expected"),
    [
        (
            {"a": 0.9, "b": 0.0, "c": -0.3, "d": 0.01},
            ["Asked for by a (.90).", "Held back by c (\u2212.30)."],
        ),
        ({"a": 0.2, "b": 0.5}, ["Asked for by b (.50), a (.20)."]),
        (
            {"a": 0.0, "b": 0.0},
            ["No task is for it or against it beyond doubt: it gets its part of the prior."],
        ),
    ],
)
def test_what_the_tasks_asked_for_counts_before_what_was_measured_last(pull, expected):
    explanations = [{}, {"domains": {"gsm8k/0": {"pull": pull}}}]
    assert domain_reasons(run_with({"a": 0.4}, explanations), "gsm8k/0") == expected


@pytest.mark.parametrize("explanation", [{}, {"domains": None}, {"domains": {"other": {}}}])
def test_a_policy_that_explains_nothing_gives_no_reasons(explanation):
    assert domain_reasons(run_with(explanations=[explanation] * 3), "gsm8k/0") == []


def test_decisions_that_changed_nothing_are_counted():
    explanations = [
        {"note": "start"},
        {"note": "nothing measured"},
        {},
        {"note": "nothing measured"},
    ]
    assert held_mixtures(run_with(explanations=explanations)) == [
        "In 2 of 3 decisions: nothing measured."
    ]
