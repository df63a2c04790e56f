"""Names become numbers; what cannot be kept is told by field, with what it contradicts."""

import numpy as np
import pytest
from given_names import NAMES

from dids.config.steering import Steering
from dids.steering.names import FieldError
from dids.steering.resolved import resolved


def of(**sections):
    return resolved(Steering.from_json(sections), NAMES)


def mixture_of(**sections):
    """The mixture nearest to one that wants the first domain alone."""
    return of(**sections).limits.project(np.array([1.0, 0.0, 0.0, 0.0]))


def test_without_a_word_there_is_the_general_floor_and_a_uniform_prior():
    found = of()
    np.testing.assert_array_equal(found.limits.lower_k, np.full(4, 0.25 / 4))
    np.testing.assert_array_equal(found.limits.upper_k, np.ones(4))
    np.testing.assert_array_equal(found.prior, np.full(4, 0.25))
    np.testing.assert_array_equal(found.task_weights, [0.5, 0.5])


def test_a_pattern_speaks_of_every_domain_that_it_fits():
    limits = of(mixture={"domains": {"web/*": {"floor": 0.2, "cap": 0.4}}}).limits
    np.testing.assert_allclose(limits.lower_k, [0.2, 0.2, 0.0625, 0.0625])
    np.testing.assert_allclose(limits.upper_k, [0.4, 0.4, 1.0, 1.0])


def test_all_that_is_said_of_a_domain_holds():
    limits = of(
        mixture={"domains": {"web/*": {"floor": 0.2}, "*": {"floor": 0.1}, "web/0": {"cap": 0.3}}}
    ).limits
    np.testing.assert_allclose(limits.lower_k, [0.2, 0.2, 0.1, 0.1])
    np.testing.assert_allclose(limits.upper_k, [0.3, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("said", "lower"), [({"pin": 0.0}, 0.0), ({"cap": 0.01}, 0.0025), ({"floor": 0.01}, 0.01)]
)
def test_the_general_floor_yields_to_what_is_said_by_name(said, lower):
    assert of(mixture={"domains": {"code": said}}).limits.lower_k[2] == pytest.approx(
        lower, rel=1e-5
    )


@pytest.mark.parametrize("floor", [0.25, 1.0])
def test_the_general_floor_yields_to_limits_of_sums_and_contradicts_nothing(floor):
    found = of(
        mixture={"floor": floor, "groups": {"code": {"domains": "code*", "pin": 0.95}}},
        data={"sources": {"web": {"cap": 0.2}}},
    ).limits
    # What is left to the web domains is 0.05; half of the mixed one may be web.
    np.testing.assert_allclose(found.lower_k[:2], floor * 0.025, rtol=1e-5)
    mixture = found.project(np.array([0.0, 0.0, 0.0, 1.0]))
    assert found.allows(mixture)
    assert mixture[2:].sum() == pytest.approx(0.95, abs=1e-8)


def test_a_pin_is_the_share_whatever_the_policy_wants():
    mixture = mixture_of(mixture={"domains": {"code": {"pin": 0.35}}})
    assert mixture[2] == pytest.approx(0.35, abs=1e-9)


def test_a_source_counts_the_part_of_its_samples_in_mixed_domains():
    mixture = mixture_of(data={"sources": {"code": {"floor": 0.5}}})
    assert mixture[2] + 0.75 * mixture[3] == pytest.approx(0.5, abs=1e-8)


def test_a_group_is_pinned_as_a_sum_and_a_mixed_domain_counts_once():
    group = {"domains": ["code+web"], "sources": "code", "pin": 0.4}
    found = of(mixture={"groups": {"code": group}})
    np.testing.assert_allclose(found.limits.group_mk, [[0.0, 0.0, 1.0, 1.0]])
    for wish in np.eye(4):
        mixture = found.limits.project(wish)
        assert mixture[2:].sum() == pytest.approx(0.4, abs=1e-8)
        assert found.limits.allows(mixture)


def test_two_sources_of_a_mixed_domain_count_it_whole():
    found = of(mixture={"groups": {"all": {"sources": ["web", "cod*"], "floor": 0.1}}})
    np.testing.assert_allclose(found.limits.group_mk, [[1.0, 1.0, 1.0, 1.0]])


def test_groups_that_are_all_pinned_leave_the_policy_what_is_inside_them():
    groups = {
        "web": {"domains": "web/*", "pin": 0.5},
        "code": {"domains": ["code", "code+web"], "pin": 0.5},
    }
    mixture = mixture_of(mixture={"floor": 0.0, "groups": groups})
    np.testing.assert_allclose(mixture, [0.5, 0.0, 0.25, 0.25], atol=1e-6)


def test_priors_are_shares_and_the_rest_is_even():
    found = of(
        mixture={"domains": {"code": {"prior": 0.1}}, "groups": {
            "web": {"domains": ["web/*"], "prior": 0.6}}},
    )  # fmt: skip
    np.testing.assert_allclose(found.prior, [0.3, 0.3, 0.1, 0.3], atol=1e-12)


def test_task_weights_are_relative_and_zero_has_no_say():
    tasks = {"sums": {"weight": 0.0}, "silent": {"weight": 5.0}}
    np.testing.assert_array_equal(of(tasks=tasks).task_weights, [0.0, 1.0])


@pytest.mark.parametrize(
    ("sections", "field", "words"),
    [
        (
            {"mixture": {"domains": {"webb/0": {"cap": 0.1}}}},
            "mixture.domains.webb/0",
            "no domain is called 'webb/0'; did you mean 'web/0'?",
        ),
        (
            {"mixture": {"groups": {"g": {"sources": ["cod"], "cap": 0.1}}}},
            "mixture.groups.g.sources",
            "no source is called 'cod'; did you mean 'code'?",
        ),
        ({"data": {"sources": {"wep": {}}}}, "data.sources.wep", "did you mean 'web'?"),
        ({"tasks": {"sum": {}}}, "tasks.sum", "did you mean 'sums'?"),
        (
            {"tasks": {"sums": {"weight": 0}, "colours": {"weight": 0}}},
            "tasks",
            "every task with a loss has weight 0",
        ),
        (
            {"mixture": {"domains": {"*": {"floor": 0.3}}}},
            "mixture.domains.*.floor",
            "0.3 for each of 4 (web/0, web/1, code, code+web) cannot be kept",
        ),
        (
            {
                "mixture": {"domains": {"web/*": {"floor": 0.3}}},
                "data": {"sources": {"web": {"cap": 0.5}}},
            },
            "data.sources.web.cap",
            "0.5 contradicts 'mixture.domains.web/*.floor' 0.3 for each of 2 (web/0, web/1)",
        ),
        (
            {
                "mixture": {
                    "floor": 0.0,
                    "domains": {"code": {"pin": 0.5}, "web/0": {"pin": 0.4}},
                    "groups": {"rest": {"domains": ["web/1", "code+web"], "floor": 0.2}},
                }
            },
            "mixture.groups.rest.floor",
            "0.2 contradicts 'mixture.domains.code.pin' 0.5 and 'mixture.domains.web/0.pin' 0.4",
        ),
        (
            {"mixture": {"domains": {"*": {"prior": 0.3}}}},
            "mixture.domains.*.prior",
            "no mixture has all of these shares",
        ),
    ],
)
def test_what_cannot_be_is_told_by_field_with_what_it_contradicts(sections, field, words):
    with pytest.raises(FieldError) as error:
        of(**sections)
    assert error.value.location == tuple(_keys(field))
    assert words in str(error.value)


def _keys(field):
    first, *rest = field.split(".", 2)
    return [first, *(rest[:1]), *(_last(rest[1]) if len(rest) > 1 else ())]


def _last(text):
    name, dot, word = text.rpartition(".")
    return [name, word] if dot else [word]
