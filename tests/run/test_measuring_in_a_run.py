"""A run measures as often as its overhead pays for, and says how sure it is."""

import json
from dataclasses import replace

import pytest
from tiny_run import tiny_config, write_config

from dids.compare.entrants import Entrant
from dids.compare.layout import ContestFolder
from dids.config import load_config
from dids.errors import InputError
from dids.mixture.policy import POLICIES, make_policy, needs_of
from dids.run.folder import RunFolder
from dids.run.measuring import before_training, every_round, initial_impact, round_budget
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages


def result_of(folder, **changes):
    config = load_config(write_config(folder, **changes))
    work = run_stages(config, RunFolder(folder / "run"), ConsoleProgress(), last="report")
    return work, json.loads((folder / "run" / "result.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return result_of(tmp_path_factory.mktemp("plain"), impact={"overhead": None})


@pytest.mark.parametrize("metric", ["fisher", "step"])
def test_every_pair_has_an_error_before_and_in_training(tmp_path, plain, metric):
    _, result = plain
    if metric == "step":
        _, result = result_of(tmp_path, impact={"overhead": None, "metric": "step"})
    assert result["overhead_allowed"] is None
    assert [impact["round"] for impact in result["impact"]] == [0, 1, 2, 3]
    for impact in result["impact"]:
        assert set(impact["cosine_error"]) == set(impact["cosine"])
        known = [
            error for row in impact["cosine_error"].values() for error in row.values() if error
        ]
        assert known
        assert all(0 < error < 10 for error in known)


def test_an_overhead_decides_how_often_and_how_much_is_measured(tmp_path, plain):
    asked = {"overhead": 0.4, "min_measurements": 0}
    work, result = result_of(tmp_path, impact=asked)
    budget = round_budget(work, work.saved_model("train").num_parameters())
    assert 0 < len(budget.measured_rounds) < 3
    assert budget.domain_samples == 0
    measured = [impact["round"] for impact in result["impact"][1:]]
    assert measured == list(budget.measured_rounds)
    assert result["overhead_allowed"] == 0.4
    assert len(measured) < len(plain[1]["impact"][1:])
    assert "that were allowed" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert before_training(work).domain_samples > 0


def test_a_proxy_of_its_own_is_measured_on_more_samples(tmp_path):
    model = tiny_config(tmp_path)["model"]["config"]
    proxy = {"config": {**model, "hidden_size": 8, "intermediate_size": 16}, "warmup_steps": 4}
    impact = {"proxy_domain_samples": 12, "proxy_task_samples": 10, "max_share": 4.0}
    work, result = result_of(tmp_path, proxy=proxy, impact=impact)
    budget, in_a_round = before_training(work), every_round(work)
    assert (budget.domain_samples, budget.task_samples) == (12, 10)
    assert (in_a_round.domain_samples, in_a_round.task_samples) == (4, 8)
    assert initial_impact(work).num_samples_t.tolist() == [8.0, 10.0]  # eight are all there are
    of_domains = sum(min(12, domain["samples"]) for domain in result["domains"].values())
    assert work.folder.facts("impact")["num_gradient_samples"] == of_domains + 8 + 10
    # As a fraction of what the run trains on.
    run_samples = int(work.config.budget.tokens / work.dataset.lengths.mean())
    some = work.config.impact.model_copy(update={"max_share": 0.3})
    some_work = replace(work, config=work.config.model_copy(update={"impact": some}))
    assert before_training(some_work).task_samples == int(
        10 * 0.3 * run_samples / (12 * len(result["domains"]) + 2 * 10)
    )


def test_a_mixture_is_made_in_every_round_of_what_was_measured_so_far(tmp_path):
    _, result = result_of(tmp_path, impact={"min_measurements": 1})
    assert [impact["round"] for impact in result["impact"]] == [0, 1]
    assert [mixture["round"] for mixture in result["mixture"]] == [0, 1, 2, 3]
    assert all(mixture["explanation"]["domains"] for mixture in result["mixture"])


def test_a_short_run_makes_a_few_measurements_beyond_its_overhead_and_says_so(tmp_path):
    work, result = result_of(tmp_path, impact={})
    assert result["overhead_allowed"] == 0.02
    assert result["overhead"] > 0.03
    budget = round_budget(work, work.saved_model("train").num_parameters())
    assert budget.measured_rounds == (1, 2)  # as dids asks for
    assert [impact["round"] for impact in result["impact"]] == [0, 1, 2]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "beyond the 2.0\u202f% that were allowed" in page
    # Others ask for four, and get what the rounds allow; a number in the config goes before both.
    for policy, asked, rounds in [
        ("dga", None, (1, 2, 3)),
        ("dga", 1, (1,)),
        ("dids", 3, (1, 2, 3)),
    ]:
        impact = work.config.impact.model_copy(update={"min_measurements": asked})
        mixture = work.config.mixture.model_copy(update={"policy": policy})
        config = work.config.model_copy(update={"impact": impact, "mixture": mixture})
        found = round_budget(replace(work, config=config), 10_000)
        assert found.measured_rounds == rounds


def test_an_overhead_without_gradients_from_training_is_refused(tmp_path):
    path = write_config(tmp_path, impact={"overhead": 0.1, "domain_gradients": "samples"})
    with pytest.raises(InputError, match="overhead needs domain_gradients: training"):
        load_config(path)


def test_long_gradients_of_a_task_are_shortened_unless_the_config_or_the_rule_says_otherwise(
    tmp_path, plain
):
    _, mean = result_of(tmp_path, impact={"overhead": None, "robust_tasks": False})
    assert mean["impact"][0]["cosine"] != plain[1]["impact"][0]["cosine"]
    robust = {name: needs_of(make_policy(name)).robust_tasks for name in POLICIES}
    published = {"dids-paper", "dids-released", "dga", "r-and-b"}
    assert {name for name, is_robust in robust.items() if not is_robust} == published


def test_a_published_rule_is_measured_for_as_published_before_training_too(tmp_path):
    found = []
    for is_robust in (False, True):
        folder = tmp_path / str(is_robust)
        folder.mkdir()
        impact = {"overhead": None, "robust_tasks": is_robust}
        mixture = {**tiny_config(folder)["mixture"], "policy": "dids-paper"}
        _, result = result_of(folder, impact=impact, mixture=mixture)
        found.append([measured["kernel"] for measured in result["impact"]])
    assert len(found[0]) == 4
    assert found[0] == found[1]


def test_a_contest_shares_no_shortened_gradients_with_a_published_rule(tmp_path):
    for is_robust in (False, True):
        config = load_config(write_config(tmp_path, impact={"robust_tasks": is_robust}))
        contest = ContestFolder(tmp_path / "contest", config)
        takes = {
            policy: contest.run(Entrant(policy, policy), {}, 0).takes_impact
            for policy in ("dids", "dids-paper", "dga")
        }
        assert takes == {"dids": True, "dids-paper": not is_robust, "dga": False}
