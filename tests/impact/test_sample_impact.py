"""Impact from samples: every metric by value, its error against repeated draws, its laws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.impact.sample_impact import METRICS, impact

DIM = 7


def rows_of(seed, sizes, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(len(sizes), DIM, generator=generator, dtype=torch.float64) + shift
    return [
        mean + torch.randn(size, DIM, generator=generator, dtype=torch.float64)
        for mean, size in zip(means, sizes, strict=True)
    ]


def slow(metric, fisher, domains, tasks, precondition, weights):
    """Every formula as loops over Python's numbers."""
    value = np.zeros((len(domains), len(tasks)))
    for k, (rows, weight) in enumerate(zip(domains, weights, strict=True)):
        g = [
            sum(w * row[p] for w, row in zip(weight, rows.tolist(), strict=True)) / sum(weight)
            for p in range(DIM)
        ]
        for t, task in enumerate(tasks):
            samples = task.tolist()
            h = [sum(s[p] for s in samples) / len(samples) for p in range(DIM)]
            within = METRICS[metric].within

            def product(a, b, within=within, samples=samples):
                if within == "plain":
                    return sum(x * y for x, y in zip(a, b, strict=True))
                if within == "step":
                    return sum(x * p * y for x, p, y in zip(a, precondition, b, strict=True))
                a = [p * x for p, x in zip(precondition, a, strict=True)]
                b = [p * x for p, x in zip(precondition, b, strict=True)]
                if fisher == "diagonal":
                    return sum(
                        sum(s[p] ** 2 for s in samples) / len(samples) * a[p] * b[p]
                        for p in range(DIM)
                    )
                along = [
                    sum(s[p] * a[p] for p in range(DIM)) * sum(s[p] * b[p] for p in range(DIM))
                    for s in samples
                ]
                return sum(along) / len(along)

            form = METRICS[metric].form
            if form == "kernel":
                value[k, t] = product(g, h)
            elif form == "cosine":
                value[k, t] = product(g, h) / (product(g, g) * product(h, h)) ** 0.5
            else:
                away = [x - y for x, y in zip(g, h, strict=True)]
                value[k, t] = 0.5 * product(away, away)
    return value


@pytest.mark.parametrize("fisher", ["whole", "diagonal"])
@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_equals_its_slow_twin(metric, fisher):
    domains, tasks = rows_of(0, [1, 4, 6]), rows_of(1, [3, 5])
    precondition = torch.rand(DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = [np.arange(1.0, len(rows) + 1) for rows in domains]
    found = impact(
        domains, tasks, metric=metric, fisher=fisher, precondition_d=precondition,
        domain_weights=weights, num_replicates=0,
    )  # fmt: skip
    expected = slow(metric, fisher, domains, tasks, precondition.tolist(), weights)
    np.testing.assert_allclose(found.value_kt, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_float32_rows_give_the_same_values(metric):
    domains, tasks = rows_of(3, [4, 6]), rows_of(4, [5, 8])
    exact = impact(domains, tasks, metric=metric, num_replicates=0).value_kt
    single = impact(
        [rows.float() for rows in domains], [rows.float() for rows in tasks],
        metric=metric, num_replicates=0,
    ).value_kt  # fmt: skip
    np.testing.assert_allclose(single, exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("metric", "fisher"), [("step", "whole"), ("fisher-cosine", "diagonal"),
                                                ("fisher-kernel", "whole")])  # fmt: skip
def test_the_standard_error_is_how_far_other_samples_would_differ(metric, fisher):
    generator = torch.Generator().manual_seed(5)
    mean = torch.linspace(0.4, 1.0, DIM)

    def drawn():
        domain = mean + torch.randn(40, DIM, generator=generator)
        task = mean.flip(0) + torch.randn(50, DIM, generator=generator)
        return impact([domain], [task], metric=metric, fisher=fisher, num_replicates=60)

    draws = [drawn() for _ in range(120)]
    spread = np.std([draw.value_kt.item() for draw in draws])
    stated = np.mean([draw.standard_error_kt.item() for draw in draws])
    assert stated == pytest.approx(spread, rel=0.25)


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator = torch.Generator().manual_seed(6)
    mean = torch.full((DIM,), 0.3)
    held = []
    for _ in range(200):
        domain = mean + torch.randn(30, DIM, generator=generator)
        task = mean + torch.randn(30, DIM, generator=generator)
        found = impact([domain], [task], metric="dot", num_replicates=100, level=0.8)
        held.append(bool(found.low_kt < (mean @ mean).item() < found.high_kt))
    assert 0.7 <= np.mean(held) <= 0.9


def test_help_and_harm_are_named_only_beyond_doubt():
    generator = torch.Generator().manual_seed(7)
    task = 1.0 + 0.1 * torch.randn(20, DIM, generator=generator)
    noise = torch.randn(20, DIM, generator=generator)
    found = impact([task, -task, noise - noise.mean(0)], [task], metric="step-cosine")
    assert found.helps_kt[:, 0].tolist() == [True, False, False]
    assert found.harms_kt[:, 0].tolist() == [False, True, False]
    distance = impact([task, -task], [task], metric="kl-distance")
    assert not distance.helps_kt.any()
    assert not distance.harms_kt.any()


def test_one_sample_says_nothing_of_its_error():
    found = impact(rows_of(8, [1, 5]), rows_of(9, [5]), num_replicates=50)
    assert np.isinf(found.standard_error_kt[0, 0])
    assert np.isfinite(found.standard_error_kt[1, 0])
    assert not found.helps_kt[0, 0]
    assert not found.harms_kt[0, 0]


@settings(max_examples=10)
@given(st.sampled_from(sorted(METRICS)), st.floats(0.1, 10.0), st.integers(0, 100))
def test_scaling_a_domains_gradients_scales_its_kernel_and_leaves_its_cosine(metric, factor, seed):
    domains, tasks = rows_of(seed, [4, 5]), rows_of(seed + 1000, [6, 3])
    before = impact(domains, tasks, metric=metric, num_replicates=0).value_kt
    scaled = impact([domains[0] * factor, domains[1]], tasks, metric=metric, num_replicates=0)
    np.testing.assert_allclose(scaled.value_kt[1], before[1], rtol=1e-9)
    if METRICS[metric].form != "distance":
        by = factor if METRICS[metric].form == "kernel" else 1.0
        np.testing.assert_allclose(scaled.value_kt[0], by * before[0], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_permuting_domains_and_splitting_one_change_nothing_else(metric):
    domains, tasks = rows_of(10, [4, 6, 5]), rows_of(11, [6, 3])
    value = impact(domains, tasks, metric=metric, num_replicates=0).value_kt
    turned = impact(domains[::-1], tasks, metric=metric, num_replicates=0).value_kt
    np.testing.assert_allclose(turned[::-1], value, rtol=1e-9, atol=1e-12)
    twice = [domains[0], domains[1], domains[1], domains[2]]
    split = impact(twice, tasks, metric=metric, num_replicates=0).value_kt
    np.testing.assert_allclose(split[[0, 1, 1, 3]], value[[0, 1, 1, 2]], rtol=1e-9, atol=1e-12)


def test_the_same_seed_gives_the_same_errors():
    domains, tasks = rows_of(12, [5, 6]), rows_of(13, [7])
    first, again = (impact(domains, tasks, seed=3, num_replicates=20) for _ in range(2))
    np.testing.assert_array_equal(first.standard_error_kt, again.standard_error_kt)
    np.testing.assert_array_equal(first.low_kt, again.low_kt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "dots"}, "no metric 'dots'"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"tasks": [torch.zeros(0, DIM)]}, "every task needs at least one sample"),
        ({"domains": []}, "every domain needs at least one sample"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    arguments = {"domains": rows_of(0, [3]), "tasks": rows_of(1, [3]), **change}
    with pytest.raises(ValueError, match=message):
        impact(**arguments)


def test_samples_that_weigh_nothing_leave_errors_numbers():
    torch.manual_seed(0)
    domain, task, weight = torch.randn(3, 4), torch.randn(6, 4), np.array([0.0, 3.0, 5.0])
    found = impact([domain], [task], metric="step", domain_weights=[weight])
    without = impact([domain[1:]], [task], metric="step", domain_weights=[weight[1:]])
    np.testing.assert_array_equal(found.standard_error_kt, without.standard_error_kt)
    np.testing.assert_array_equal(found.value_kt, without.value_kt)
    assert np.isfinite(found.standard_error_kt).all()
    with pytest.raises(ValueError, match="domain"):
        impact([domain], [task], metric="step", domain_weights=[0.0 * weight])
