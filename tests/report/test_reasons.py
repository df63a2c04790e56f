"""Reasons say what the policy explained and what was measured, and nothing where nothing was."""

from dataclasses import replace

import pytest
from example_run import example_result

from dids.report import RunRecord
from dids.report.evidence import impact_evidence
from dids.report.numbers import count_text
from dids.report.page import report_html
from dids.report.reasons import Reasons, domain_reasons, held_mixtures, waiting_tasks


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
def test_without_pulls_the_task_that_a_domain_helps_is_named(cosine, expected):
    reasons = domain_reasons(run_with(cosine), "gsm8k/0")
    assert reasons == Reasons((), (expected,) if expected else ())


def test_the_last_decision_and_what_repeats_took_are_told():
    numbers = {"best": 0.125, "marginal_value": 0.9, "utility": 1.0}
    explanations = [{}, {"domains": {"gsm8k/0": numbers}}, {"note": "nothing measured"}]
    sentences = domain_reasons(run_with(explanations=explanations), "gsm8k/0").sentences
    assert "wanted 12.5\u202f%" in sentences[0]
    assert sentences[1] == "Repeats have taken 10.0\u202f% off what another sample is worth."


def test_the_prior_that_leans_to_what_is_not_learnt_is_said():
    numbers = {"best": 0.125, "loss": 3.456, "prior": 0.04, "marginal_value": 1.0}
    *_, said = domain_reasons(
        run_with(explanations=[{}, {"domains": {"gsm8k/0": numbers}}]), "gsm8k/0"
    ).sentences
    assert said == (
        "Its own loss in training, 3.46 nats, makes its part of the prior 4.0\u202f%: what is not "
        "learnt yet has more of it."
    )
    unseen = {**numbers, "loss": None}  # before any loss was seen
    told = domain_reasons(run_with(explanations=[{}, {"domains": {"gsm8k/0": unseen}}]), "gsm8k/0")
    assert not any("Its own loss" in sentence for sentence in told.sentences)


def pulled(pull, cosine=None):
    explanations = [{}, {"domains": {"gsm8k/0": {"pull": pull}}}]
    return domain_reasons(run_with(cosine, explanations), "gsm8k/0")


@pytest.mark.parametrize(
    ("pull", "expected"),
    [
        ({"a": 0.6, "b": 0.0, "c": -0.39, "d": 0.01}, [("a", 0.6), ("c", -0.39)]),
        ({"a": 0.2, "b": 0.6}, [("b", 0.75), ("a", 0.25)]),
        ({"a": 0.0, "b": 0.0}, []),
    ],
)
def test_pulls_are_parts_of_all_that_tasks_ask(pull, expected):
    assert [(p.task, pytest.approx(p.part)) for p in pulled(pull).pulls] == expected


NO_TASK = "No task is for it or against it beyond doubt: it gets its part of the prior"


def shared(first, last, held=(), pull=None):
    """What is said of a domain that has a share first and last, by the limits of every round."""
    run = run_with(explanations=[{}, {"domains": {"gsm8k/0": {"pull": pull or {"a": 0.0}}}}])
    shares = [first, first, last, last]
    held = [*held, {}, {}, {}, {}]
    explanation = run.mixture[-1].explanation
    mixtures = [
        replace(
            run.mixture[-1], round=number, probability={"gsm8k/0": share},
            explanation={**explanation, "held": limits} if limits else explanation,
        )
        for number, (share, limits) in enumerate(zip(shares, held, strict=False))
    ]  # fmt: skip
    return domain_reasons(replace(run, mixture=tuple(mixtures)), "gsm8k/0").sentences


def test_what_no_task_pulls_at_gives_way_if_it_has_less():
    assert shared(0.2, 0.1) == (f"{NO_TASK}, and gives way to what is asked for.",)
    assert shared(0.1, 0.2) == (f"{NO_TASK}.",)
    pinned = [{}, {"junk": "pin"}, {"junk": "pin"}, {"junk": "pin"}]
    assert shared(0.2, 0.1, pinned) == (
        f"{NO_TASK}, and gives way to what is asked for or pinned.",
    )


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("pin", "It is pinned to 20.0\u202f%, since round 2."),
        ("floor", "It is at its floor, 20.0\u202f%, since round 2: no decision may give it less."),
        ("cap", "It is at its cap, 20.0\u202f%, since round 2: no decision may give it more."),
        ("data.sources.gsm8k", "The limits of data.sources.gsm8k hold it, since round 2."),
    ],
)
def test_a_limit_that_holds_a_share_is_named_before_all_else(limit, said):
    own = {"gsm8k/0": limit}
    assert shared(0.1, 0.2, [own, {}, own, own])[0] == said
    assert shared(0.1, 0.2, [own] * 4)[0] == said.replace(", since round 2", "")
    assert NO_TASK + "." in shared(0.1, 0.2, [own] * 4)
    assert not any("gsm8k hold" in each for each in shared(0.1, 0.2, [own, own, {}, {}]))


def test_evidence_is_given_on_the_first_for_and_the_first_against():
    sentences = pulled({"a": 0.6, "b": -0.3, "c": 0.1}, {"a": 0.4, "b": -0.2, "c": 0.3}).sentences
    assert sentences == (
        "Impact on a: .40 when last measured.",
        "Impact on b: \u2212.20 when last measured.",
    )


def test_evidence_counts_the_measurements_of_the_whole_run():
    result = example_result()
    result["impact"] = [
        {"round": i, "step": i, "cosine": {"gsm8k/0": {"piqa": value}},
         "cosine_error": {"gsm8k/0": {"piqa": 0.05}}}
        for i, value in enumerate([0.5, -0.1, None, 0.2])
    ]  # fmt: skip
    found = impact_evidence(RunRecord.from_dict(result), "gsm8k/0", "piqa")
    assert (found.num_measured, found.num_above) == (3, 2)
    assert found.mean == pytest.approx(0.2)
    assert found.sentence == (
        "Impact on piqa: .20\u00a0±\u00a0.05 when last measured, .20 on average, above zero in "
        "2 of 3 measurements."
    )


@pytest.mark.parametrize("explanation", [{}, {"domains": None}, {"domains": {"other": {}}}])
def test_a_policy_that_explains_nothing_gives_no_reasons(explanation):
    reasons = domain_reasons(run_with(explanations=[explanation] * 3), "gsm8k/0")
    assert reasons == Reasons((), ())


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


def tasks_said(out_of_reach, **waiting):
    return {
        "tasks": {
            task: {"waiting": part, "out_of_reach": out_of_reach.get(task, 0.0)}
            for task, part in waiting.items()
        }
    }


def test_a_task_that_waits_is_named_with_how_long():
    beyond = {"piqa": 0.9}
    explanations = [
        tasks_said(beyond, piqa=0.9, gsm8k=0.0),
        tasks_said(beyond, piqa=0.45, gsm8k=0.0),
        tasks_said(beyond, piqa=0.0, gsm8k=0.001),
    ]
    run = run_with(explanations=explanations)
    assert waiting_tasks(run) == [
        "piqa: no domain comes near it, and what is learnt for such a task early is lost again, so "
        f"90.0\u202f% of its share went by the prior at first, and none from "
        f"{count_text(run.mixture[2].tokens)} tokens on."
    ]
    stopped = run_with(explanations=explanations[:2])
    (sentence,) = waiting_tasks(stopped)
    assert sentence.endswith("went by the prior at first.")
    assert 'class="waiting"' not in report_html(run_with(explanations=[{}] * 3))
    assert sentence in report_html(stopped).replace("&#39;", "'")


def test_tasks_that_wait_with_others_are_named_after_them():
    explanation = tasks_said({"piqa": 0.9}, gsm8k=0.45, piqa=0.9, bbh=0.4)
    one, rest = waiting_tasks(run_with(explanations=[explanation] * 3))
    assert one.startswith("piqa: ")
    assert rest.startswith("gsm8k, bbh: 45.0\u202f% of their shares went by the prior with them,")


@pytest.mark.parametrize("tasks", [None, {"piqa": None}, {"piqa": {"waiting": "long"}}])
def test_a_policy_that_says_nothing_of_waiting_has_no_sentence(tasks):
    assert waiting_tasks(run_with(explanations=[{"tasks": tasks}] * 3)) == []
