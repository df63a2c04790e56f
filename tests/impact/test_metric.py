import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dids.impact import metric


def world(seed, num_domains=4, num_tasks=3, num_parameters=50, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    update = torch.randn(num_domains, num_parameters, generator=generator, dtype=torch.float64)
    target = torch.randn(num_tasks, num_parameters, generator=generator, dtype=torch.float64)
    fisher = torch.rand(num_tasks, num_parameters, generator=generator, dtype=torch.float64)
    weight = 1 + torch.rand(num_parameters, generator=generator, dtype=torch.float64)
    return tuple(x.to(dtype) for x in (update, target, fisher, weight))


def slow(update, target, fisher, weight):
    """Every formula as loops over Python's numbers."""
    num_domains, num_tasks, num_parameters = len(update), len(target), update.shape[1]
    u, h, f, w = update.tolist(), target.tolist(), fisher.tolist(), weight.tolist()

    def inner(task, a, b):
        return sum(w[p] * f[task][p] * a[p] * b[p] for p in range(num_parameters))

    distance, kernel, cosine = np.zeros((3, num_domains, num_tasks))
    gram = np.zeros((num_tasks, num_domains, num_domains))
    for t in range(num_tasks):
        for k in range(num_domains):
            gap = [u[k][p] - h[t][p] for p in range(num_parameters)]
            distance[k, t] = 0.5 * inner(t, gap, gap)
            kernel[k, t] = inner(t, u[k], h[t])
            length = (inner(t, u[k], u[k]) * inner(t, h[t], h[t])) ** 0.5
            cosine[k, t] = kernel[k, t] / length
            for other in range(num_domains):
                gram[t, k, other] = inner(t, u[k], u[other])
    norm = np.array([inner(t, h[t], h[t]) for t in range(num_tasks)])
    return distance, kernel, cosine, gram, norm


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("chunk_entries", [8, 2**22])
def test_every_form_equals_its_slow_twin(monkeypatch, dtype, rtol, chunk_entries):
    monkeypatch.setattr(metric, "_CHUNK_ENTRIES", chunk_entries)
    update, target, fisher, weight = world(0, dtype=dtype)
    distance, kernel, cosine, gram, norm = slow(update, target, fisher, weight)
    arguments = (update, target, fisher, weight)
    np.testing.assert_allclose(metric.kl_distance(*arguments), distance, rtol=rtol)
    np.testing.assert_allclose(metric.fisher_kernel(*arguments), kernel, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(metric.fisher_cosine(*arguments), cosine, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(
        metric.fisher_gram(update, fisher, weight), gram, rtol=rtol, atol=10 * rtol
    )
    np.testing.assert_allclose(metric.target_norm(target, fisher, weight), norm, rtol=rtol)
    np.testing.assert_allclose(
        metric.paired_products(update, update, fisher, weight),
        np.diagonal(gram, axis1=1, axis2=2),
        rtol=rtol,
    )


@given(st.integers(0, 1000))
def test_distance_is_half_lengths_minus_kernel(seed):
    update, target, fisher, _ = world(seed)
    gram = metric.fisher_gram(update, fisher)
    expanded = (
        0.5 * gram.diagonal(dim1=1, dim2=2).T
        - metric.fisher_kernel(update, target, fisher)
        + 0.5 * metric.target_norm(target, fisher)
    )
    torch.testing.assert_close(metric.kl_distance(update, target, fisher), expanded)


@given(st.integers(0, 1000), st.floats(0.1, 10.0))
def test_scaling_a_domain_scales_its_kernel_and_leaves_its_cosine(seed, factor):
    update, target, fisher, _ = world(seed)
    scaled = update * torch.tensor([factor, 1.0, 1.0, 1.0], dtype=torch.float64)[:, None]
    kernel = metric.fisher_kernel(update, target, fisher)
    kernel[0] *= factor
    torch.testing.assert_close(metric.fisher_kernel(scaled, target, fisher), kernel)
    torch.testing.assert_close(
        metric.fisher_cosine(scaled, target, fisher), metric.fisher_cosine(update, target, fisher)
    )


def test_the_tasks_own_step_is_at_distance_zero_and_cosine_one():
    _, target, fisher, _ = world(1)
    torch.testing.assert_close(
        metric.kl_distance(target, target, fisher).diagonal(), torch.zeros(3, dtype=torch.float64)
    )
    torch.testing.assert_close(
        metric.fisher_cosine(target, target, fisher).diagonal(), torch.ones(3, dtype=torch.float64)
    )


def test_a_domain_that_helps_scores_better_than_one_that_harms():
    # Regression: a similarity was fed to a formula for distances, so the best domain came last.
    target, fisher = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    helps_and_harms = torch.tensor([[0.9, 1.1], [-1.0, -1.0]])
    assert torch.diff(metric.kl_distance(helps_and_harms, target, fisher)[:, 0]) > 0
    assert torch.diff(metric.fisher_kernel(helps_and_harms, target, fisher)[:, 0]) < 0
    assert torch.diff(metric.fisher_cosine(helps_and_harms, target, fisher)[:, 0]) < 0


def test_the_fisher_metric_is_no_square_of_a_mean_gradient():
    # Regression: the "Fisher" was the squared gradient of a batch; opposite samples cancel in it,
    # and a parameter that every sample disputes seemed not to matter.
    per_sample = torch.tensor([[3.0, 1.0], [-3.0, 1.0]])
    fisher = per_sample.square().mean(0, keepdim=True)
    update, target = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    assert metric.fisher_kernel(update, target, fisher).item() == 9.0
    assert metric.fisher_kernel(update, target, per_sample.mean(0, keepdim=True).square()) == 0.0


def test_a_subsample_of_parameters_is_unbiased():
    update, _, fisher, _ = world(3, num_parameters=20_000)
    kept = torch.randperm(20_000, generator=torch.Generator().manual_seed(0))[:10_000]
    weight = torch.full((10_000,), 2.0, dtype=torch.float64)
    torch.testing.assert_close(
        metric.fisher_gram(update[:, kept], fisher[:, kept], weight).diagonal(dim1=1, dim2=2),
        metric.fisher_gram(update, fisher).diagonal(dim1=1, dim2=2),
        rtol=0.05,
        atol=0.0,
    )


def test_a_change_without_length_has_cosine_zero():
    cosine = metric.fisher_cosine(torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2))
    assert cosine.item() == 0.0


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_a_fisher_below_zero_is_refused(bad):
    with pytest.raises(ValueError, match="zero or more everywhere"):
        metric.target_norm(torch.ones(1, 1), torch.tensor([[bad]]))
