"""Other domains on the way: untouched ones go on, and nothing is drawn again before its time."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.domains.regrouping import Regrouping
from dids.sampling import MixtureSampler
from dids.sampling.draw_order import DrawOrder
from dids.sampling.regrouping import OrderedDomains, regrouped_log, regrouped_progress

SEED = 3
BATCH = 6


def grouped(label_n):
    """Sample ids by label."""
    return [np.flatnonzero(label_n == k) for k in range(label_n.max() + 1)]


def sampler_of(ordered, lengths, mixture, **changes):
    return MixtureSampler(
        ordered.members, lengths, batch_size=BATCH, seed=SEED, mixture=mixture,
        orders=ordered.orders, **changes,
    )  # fmt: skip


def regrouped(sampler, ordered, before_n, after_n, step, lengths, **changes):
    """The sampler of other domains from a step on, the new ones at a tenth each."""
    names = [list(map(str, range(label_n.max() + 1))) for label_n in (before_n, after_n)]
    weight_n = (
        lengths[: len(after_n)] if sampler.unit == "tokens" else np.ones(len(after_n), dtype=int)
    )
    found = Regrouping.between(before_n, after_n, weight_n, *names)
    progress = sampler.progress(step)
    now = ordered.regrouped(progress.drawn_k, grouped(after_n), SEED)
    added_k = 0.1 * found.is_added_k

    def moved(mixture_j):
        return found.passed_kj @ mixture_j

    def moved_later(mixture_j):
        return added_k + (1 - added_k.sum()) * moved(mixture_j)

    log = regrouped_log(sampler.log, step, moved, moved_later)
    mixture = log.mixture(step)
    credit = moved(sampler.credits(step))
    after = regrouped_progress(progress, credit, mixture, ordered, now, lengths, SEED)
    new = sampler_of(now, lengths, mixture, unit=sampler.unit, **changes)
    new.start_from(after, log)
    return new, now


@st.composite
def changing_labels(draw):
    """Labels of samples, and what becomes of them in two changes: splits, merges, new samples."""
    num = draw(st.integers(8, 40))
    num_domains = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    label_n = np.concatenate([np.arange(num_domains), rng.integers(0, num_domains, num)])
    stages = [label_n]
    for _ in range(2):
        label_n = stages[-1].copy()
        kind = draw(st.sampled_from(["split", "merge", "add", "reshuffle"]))
        if kind == "split":
            own = np.flatnonzero(label_n == 0)
            label_n[own[::2]] = label_n.max() + 1
        elif kind == "merge":
            label_n[label_n == label_n.max()] = 0
        elif kind == "add":
            label_n = np.concatenate([label_n, np.full(9, label_n.max() + 1)])
        else:
            label_n = rng.integers(0, num_domains, len(label_n))
        _, label_n = np.unique(label_n, return_inverse=True)
        stages.append(label_n)
    return stages


@settings(max_examples=40)
@given(
    changing_labels(), st.integers(0, 9), st.integers(0, 9), st.sampled_from(["samples", "tokens"])
)
def test_every_sample_is_drawn_once_before_any_again_through_every_change(
    stages, first, second, unit
):
    num_samples = len(stages[-1])
    lengths = 3 + np.arange(num_samples) % 5
    count_n = np.zeros(num_samples, dtype=int)
    ordered = OrderedDomains(grouped(stages[0]))
    uniform = np.full(len(ordered.members), 1 / len(ordered.members))
    sampler = sampler_of(ordered, lengths, uniform, unit=unit)
    ends = [first, first + second, first + second + 12]
    step = 0
    for number, end in enumerate(ends):
        while step < end:
            before_n = count_n.copy()
            np.add.at(count_n, sampler.plan(step), 1)
            step += 1
            for ids in grouped(stages[number]):
                # A sample is drawn only while no other of its domain lies a whole pass behind:
                # whoever was drawn had the least draws of all, or their next level.
                drawn = ids[count_n[ids] > before_n[ids]]
                rest = ids[count_n[ids] == before_n[ids]]
                if len(drawn) and len(rest):
                    assert count_n[drawn].max() <= count_n[rest].min() + 1
        drawn_k = sampler.draws_by_domain(step)
        assert drawn_k.tolist() == [int(count_n[ids].sum()) for ids in grouped(stages[number])]
        tokens_k = sampler.tokens_by_domain(step)
        assert tokens_k.tolist() == [
            int((count_n * lengths[: len(count_n)])[ids].sum()) for ids in grouped(stages[number])
        ]
        if number < 2:
            labels = stages[number], stages[number + 1]
            sampler, ordered = regrouped(sampler, ordered, *labels, step, lengths)


begun_n = np.array([0] * 20 + [1] * 13 + [2] * 7)


def after_split():
    """The first domain in two parts, which are domains 0 and 3."""
    label_n = begun_n.copy()
    label_n[:12] = 3
    return label_n


def test_untouched_domains_give_the_same_samples_as_without_the_change():
    lengths, mixture = np.full(40, 5), np.array([0.5, 0.3, 0.2])
    alone = sampler_of(OrderedDomains(grouped(begun_n)), lengths, mixture)
    ordered = OrderedDomains(grouped(begun_n))
    sampler = sampler_of(ordered, lengths, mixture)
    changed, _ = regrouped(sampler, ordered, begun_n, after_split(), 5, lengths)
    for domain, size in ((1, 13), (2, 7)):
        drawn = []
        for each in (alone, changed):
            stream = [np.bincount(each.plan(step), minlength=40) for step in range(5, 60)]
            count_n = np.cumsum(stream, axis=0) * (begun_n == domain)
            drawn.append({int(now.sum()): now for now in count_n})
        alike = drawn[0].keys() & drawn[1].keys()
        assert len(alike) > 20
        assert max(alike) > 3 * size  # several passes
        for num in alike:  # as many draws are the same draws
            np.testing.assert_array_equal(drawn[0][num], drawn[1][num])
    difference = alone.draws_by_domain(60)[1:3] - changed.draws_by_domain(60)[1:3]
    assert np.abs(difference).max() <= 2


def test_parts_inherit_weight_draws_and_credit_by_their_size():
    lengths, mixture = np.full(40, 5), np.array([0.5, 0.3, 0.2])
    ordered = OrderedDomains(grouped(begun_n))
    sampler = sampler_of(ordered, lengths, mixture)
    sampler.plan(9)
    changed, _ = regrouped(sampler, ordered, begun_n, after_split(), 7, lengths)
    np.testing.assert_allclose(changed.log.mixture(7), [0.5 * 8 / 20, 0.3, 0.2, 0.5 * 12 / 20])
    before, after = sampler.progress(7), changed.progress(7)
    assert after.drawn_k[0] + after.drawn_k[3] == before.drawn_k[0]
    assert after.drawn_k[1:3].tolist() == before.drawn_k[1:3].tolist()
    was = sampler.credits(7)
    np.testing.assert_allclose(changed.credits(7), [0.4 * was[0], *was[1:], 0.6 * was[0]])


def test_a_whole_has_the_weights_and_draws_of_its_parts():
    lengths, mixture = np.full(40, 5), np.array([0.5, 0.3, 0.2])
    merged = np.where(begun_n == 2, 1, begun_n)
    ordered = OrderedDomains(grouped(begun_n))
    sampler = sampler_of(ordered, lengths, mixture)
    changed, _ = regrouped(sampler, ordered, begun_n, merged, 7, lengths)
    np.testing.assert_allclose(changed.log.mixture(7), [0.5, 0.5])
    assert changed.draws_by_domain(7)[1] == sampler.draws_by_domain(7)[1:].sum()
    assert changed.tokens(7) == sampler.tokens(7)


def test_samples_that_join_take_their_share_and_leave_the_others_in_proportion():
    lengths = np.full(50, 5)
    joined = np.concatenate([begun_n, np.full(10, 3)])
    ordered = OrderedDomains(grouped(begun_n))
    sampler = sampler_of(ordered, lengths, np.array([0.5, 0.3, 0.2]))
    sampler.set_mixture([0.2, 0.4, 0.4], 9)  # decided before the change, holds after it
    changed, _ = regrouped(sampler, ordered, begun_n, joined, 7, lengths)
    np.testing.assert_allclose(changed.log.mixture(6), [0.5, 0.3, 0.2, 0.0])
    np.testing.assert_allclose(changed.log.mixture(7), [0.45, 0.27, 0.18, 0.1])
    np.testing.assert_allclose(changed.log.mixture(9), [0.18, 0.36, 0.36, 0.1])


@settings(max_examples=20)
@given(changing_labels(), st.integers(0, 30))
def test_a_regrouped_sampler_resumes_identically(stages, stop):
    lengths = 3 + np.arange(len(stages[-1])) % 5
    ordered = OrderedDomains(grouped(stages[0]))
    uniform = np.full(len(ordered.members), 1 / len(ordered.members))
    sampler = sampler_of(ordered, lengths, uniform)
    changed, _ = regrouped(sampler, ordered, *stages[:2], 4, lengths)
    state = json.loads(json.dumps(changed.state_dict(4 + stop)))
    # What orders need is the draws at the change, and nothing of the size of the data.
    again = ordered.regrouped(np.array(sampler.draws_by_domain(4)), grouped(stages[1]), SEED)
    resumed = sampler_of(again, lengths, changed.log.mixture(4))
    resumed.load_state_dict(state)
    for step in range(4 + stop, 4 + stop + 10):
        np.testing.assert_array_equal(resumed.plan(step), changed.plan(step))
    with pytest.raises(ValueError, match="this run begins with step"):
        resumed.plan(3)


def test_a_limit_of_repeats_counts_every_samples_own():
    lengths = np.full(40, 5)
    ordered = OrderedDomains(grouped(begun_n))
    sampler = sampler_of(ordered, lengths, np.array([0.05, 0.05, 0.9]))
    count_n = np.zeros(40, dtype=int)
    for step in range(3):  # the smallest domain is in its third pass, the others in their first
        np.add.at(count_n, sampler.plan(step), 1)
    merged = np.minimum(begun_n, 1)
    changed, _ = regrouped(sampler, ordered, begun_n, merged, 3, lengths, max_repeats=[2, 2])
    step = 3
    while changed.has_step(step):
        np.add.at(count_n, changed.plan(step), 1)
        step += 1
    assert count_n.max() == 3
    assert count_n.sum() > 3 * 40 - BATCH


def test_orders_without_a_change_are_those_of_before():
    # Regression guard: runs that resume after an upgrade draw what they would have drawn.
    size = np.array([9, 4])
    sampler = MixtureSampler([range(9), range(9, 13)], 1, batch_size=5, seed=0, mixture=[0.5, 0.5])
    spelt_out = MixtureSampler(
        [range(9), range(9, 13)], 1, batch_size=5, seed=0, mixture=[0.5, 0.5],
        orders=[DrawOrder(0), DrawOrder(1)],
    )  # fmt: skip
    for step in range(10):
        np.testing.assert_array_equal(sampler.plan(step), spelt_out.plan(step))
    assert sampler.state_dict(3) == spelt_out.state_dict(3)
    counts = [
        order.counts(int(n), int(drawn), 0)
        for order, n, drawn in zip(
            [DrawOrder(0), DrawOrder(1)], size, sampler.draws_by_domain(10), strict=True
        )
    ]
    stream = np.concatenate([sampler.plan(step) for step in range(10)])
    np.testing.assert_array_equal(np.concatenate(counts), np.bincount(stream, minlength=13))
