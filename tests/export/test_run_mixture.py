"""Weights of a run in another unit, at its end and over its course."""

import numpy as np
import pytest

from dids.errors import InputError
from dids.export.run_mixture import RunMixture
from dids.report.record import RunRecord

RECORDS = {"short": 40, "long": 10}
DOMAINS = {
    "short": {"samples": 40, "tokens": 400, "source_counts": {}},
    "long": {"samples": 20, "tokens": 600, "source_counts": {}},  # two samples a record
}


def mixture(probabilities, unit="samples", records=RECORDS, first=None, drawn=None):
    rounds = [
        {"round": r, "step": r, "tokens": tokens, "probability": dict(zip(DOMAINS, p, strict=True))}
        for r, (tokens, p) in enumerate(probabilities)
    ]
    if first is not None:
        rounds[0]["probability"] = first
    domains = {name: {**DOMAINS[name], "tokens_drawn": (drawn or {}).get(name)} for name in DOMAINS}
    result = {"seed": 0, "tokens": 1000, "tasks": {}, "mixture": rounds, "domains": domains,
              "config": {"mixture": {"unit": unit}}}  # fmt: skip
    return RunMixture.of_run(RunRecord.from_dict(result), records)


def test_samples_become_tokens_by_their_lengths():
    # 10 tokens a sample and 30: 0.6 * 10 to 0.4 * 30 is 1 to 2.
    weights = mixture([(0, (0.6, 0.4))]).final("tokens")
    assert weights == pytest.approx({"short": 1 / 3, "long": 2 / 3})


def test_samples_become_records_by_their_number_in_a_record():
    # Two samples of "long" are one record: 0.6 to 0.4 / 2.
    weights = mixture([(0, (0.6, 0.4))]).final("records")
    assert weights == pytest.approx({"short": 0.75, "long": 0.25})


def test_tokens_stay_tokens():
    weights = mixture([(0, (0.6, 0.4))], unit="tokens").final("tokens")
    assert weights == pytest.approx({"short": 0.6, "long": 0.4})


def test_the_average_is_of_what_was_trained_on():
    found = mixture([(0, (0.0, 1.0)), (250, (1.0, 0.0))], unit="tokens")
    assert found.average("tokens") == pytest.approx({"short": 0.75, "long": 0.25})
    # 750 tokens are 75 records of 10, 250 are 25/6 of 60.
    records = found.average("records")
    assert records["short"] / records["long"] == pytest.approx(75 / (250 / 60))


@pytest.mark.parametrize("unit", ["samples", "tokens"])
def test_the_average_is_of_what_was_drawn_where_a_domain_ran_out(unit):
    # Half of the tokens and more were asked of "short", which ended after its 400.
    found = mixture([(0, (0.75, 0.25))], unit, drawn={"short": 400, "long": 600})
    assert found.average("tokens") == pytest.approx({"short": 0.4, "long": 0.6})
    # 400 tokens are 40 records, 600 are 10.
    assert found.average("records") == pytest.approx({"short": 0.8, "long": 0.2})
    (stage,) = found.chosen("average", "tokens")
    assert stage.weights == found.average("tokens")


@pytest.mark.parametrize("drawn", [{"short": 400}, {"short": 0, "long": 0}])
def test_the_average_is_of_what_was_asked_for_where_what_was_drawn_is_not_known(drawn):
    found = mixture([(0, (0.6, 0.4))], unit="tokens", drawn=drawn)
    assert found.average("tokens") == pytest.approx({"short": 0.6, "long": 0.4})


def test_the_schedule_leaves_out_rounds_that_change_nothing():
    p, q = (0.5, 0.5), (0.25, 0.75)
    stages = mixture([(0, p), (100, p), (500, q), (900, p)], unit="tokens").schedule("tokens")
    assert [stage.fraction for stage in stages] == [0.0, 0.5, 0.9]
    assert [stage.weights["short"] for stage in stages] == pytest.approx([0.5, 0.25, 0.5])


@pytest.mark.parametrize("unit", ["tokens", "records"])
def test_a_domain_without_records_has_no_weight(unit):
    weights = mixture([(0, (0.6, 0.4))], records={"short": 40, "long": 0}).final(unit)
    assert weights == {"short": 1.0, "long": 0.0}


def test_every_choice_sums_to_one():
    generator = np.random.default_rng(0)
    probabilities = [(100 * r, generator.dirichlet([1, 1]).tolist()) for r in range(5)]
    found = mixture(probabilities)
    for unit in ("tokens", "records"):
        for choice in ("final", "average", "schedule"):
            for stage in found.chosen(choice, unit):
                assert sum(stage.weights.values()) == pytest.approx(1.0)


def test_domains_that_changed_under_way_leave_the_last_mixture():
    found = mixture([(0, (0.5, 0.5)), (500, (0.6, 0.4))], unit="tokens", first={"short": 1.0})
    assert found.final("tokens") == pytest.approx({"short": 0.6, "long": 0.4})
    for choice in ("average", "schedule"):
        with pytest.raises(InputError, match="In 1 of its 2 rounds the run had other domains"):
            found.chosen(choice, "tokens")


def test_a_run_without_a_mixture_is_refused():
    with pytest.raises(InputError, match="'mixture' is empty"):
        mixture([])
