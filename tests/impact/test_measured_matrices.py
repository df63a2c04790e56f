"""Measured matrices by value: what autograd says of each sample, multiplied out in float64."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from dids.config.schema import ModelConfig
from dids.data.dataset import PaddingCollator, TokenDataset
from dids.data.records import Origin, Record
from dids.data.token_store import write_token_store
from dids.data.tokenizer import train_tokenizer
from dids.gradients import sample_losses
from dids.impact import divided_pass
from dids.impact.estimate import ImpactEstimator
from dids.impact.measuring_budget import MeasuringBudget
from dids.impact.standard_error import preference_error
from dids.training.models import build_model

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "birds", "fly", "over", "it"]
MEMBERS = [np.arange(0, 7), np.arange(7, 12), np.arange(12, 18)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([" ".join(WORDS)] * 5), 300)


@pytest.fixture(scope="module")
def dataset(tokenizer, tmp_path_factory):
    texts = [" ".join(WORDS[(n * 5 + i * i) % 13] for i in range(4 + n % 5)) for n in range(18)]
    store = write_token_store(
        tmp_path_factory.mktemp("tokens") / "store",
        (Record(Origin("made-up", n + 1), text=text) for n, text in enumerate(texts)),
        tokenizer,
        name="made-up",
        key="key",
        sequence_length=48,
    )
    return TokenDataset([store])


@pytest.fixture(scope="module")
def model(tokenizer):
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "initializer_range": 0.2}
    config = ModelConfig(config={"model_type": "llama", **size, **heads})
    return build_model(config, vocab_size=len(tokenizer), seed=0)


def stepped(model):
    """An Adam whose preconditioner is far from 1."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.grad = 0.01 + 10.0 * noise
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def slow_gradient(model, dataset, samples, by_tokens):
    """The mean over samples or tokens, each sample alone and its loss written out, in float64."""
    model, total, weight = deepcopy(model).double(), 0.0, 0.0
    for sample in samples:
        ids, labels = dataset[sample]["input_ids"], dataset[sample]["labels"]
        nats = -model(input_ids=ids[None]).logits[0].log_softmax(-1)
        scored = [t for t in range(1, len(ids)) if labels[t] != -100]
        loss = sum(nats[t - 1, ids[t]] for t in scored) / len(scored)
        parts = torch.autograd.grad(loss, list(model.parameters()))
        own = len(scored) if by_tokens else 1.0
        total = total + own * torch.cat([part.flatten() for part in parts])
        weight += own
    return (total / weight).numpy()


def estimator(dataset, within, max_coordinates=None, robust_tasks=False):
    return ImpactEstimator(
        dataset=dataset,
        members_by_domain=MEMBERS,
        domain_names=["a", "b", "c"],
        tasks={"first": dataset, "second": dataset},
        collate=PaddingCollator(0),
        budget=MeasuringBudget(domain_samples=18, task_samples=18, validation_samples=4),
        max_coordinates=max_coordinates,
        labels="data",
        seed=0,
        within=within,
        robust_tasks=robust_tasks,
    )


def test_plain_matrices_are_inner_products_of_the_gradients_whatever_the_optimizer(model, dataset):
    domain_kp = np.stack([slow_gradient(model, dataset, s.tolist(), True) for s in MEMBERS])
    task_p = slow_gradient(model, dataset, list(range(18)), False)
    for optimizer in (None, stepped(model)):
        found = estimator(dataset, "plain").measure(model, optimizer, index=0).matrices
        for task in range(2):
            np.testing.assert_allclose(found.gram_tkk[task], domain_kp @ domain_kp.T, rtol=1e-4)
            np.testing.assert_allclose(found.kernel_kt[:, task], domain_kp @ task_p, rtol=1e-4)
            np.testing.assert_allclose(found.target_norm_t[task], task_p @ task_p, rtol=1e-4)


class SomeUnscored:
    """Every third sample is a prompt alone."""

    def __init__(self, dataset):
        self.dataset, self.lengths = dataset, dataset.lengths

    def __len__(self):
        return len(self.dataset)

    def scored(self, groups):
        return [group[group % 3 != 0] for group in groups]

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        items = self.dataset.__getitems__(indices)
        return [
            item if index % 3 else {**item, "labels": torch.full_like(item["labels"], -100)}
            for index, item in zip(indices, items, strict=True)
        ]


def test_a_tasks_samples_without_a_completion_have_no_say(model, dataset):
    scored = [n for n in range(18) if n % 3]
    estimate = estimator(dataset, "plain")
    arguments = {
        name: getattr(estimate, name)
        for name in ("dataset", "members_by_domain", "domain_names", "collate", "budget", "seed")
    }
    partial = ImpactEstimator(
        **{**arguments, "budget": MeasuringBudget(18, 18, 18)}, max_coordinates=None,
        labels="data", within="plain", robust_tasks=False,
        tasks={"first": SomeUnscored(dataset)},
    )  # fmt: skip
    own = [sample_losses(model, PaddingCollator(0)([dataset[sample]])).item() for sample in scored]
    assert partial.task_losses(model)["first"] == pytest.approx(np.mean(own), rel=1e-5)
    domain_kp = np.stack([slow_gradient(model, dataset, s.tolist(), True) for s in MEMBERS])
    task_p = slow_gradient(model, dataset, scored, False)
    found = partial.measure(model, None, index=0).matrices
    np.testing.assert_allclose(found.kernel_kt[:, 0], domain_kp @ task_p, rtol=1e-4)


def test_plain_matrices_are_those_of_a_step_where_the_optimizer_does_nothing(model, dataset):
    plain, step = (
        estimator(dataset, within).measure(model, None, index=0).matrices
        for within in ("plain", "step")
    )
    assert (plain.within, step.within) == ("plain", "step")
    assert replace(plain, within="step").to_json() == step.to_json()
    under_adam = estimator(dataset, "step").measure(model, stepped(model), index=0).matrices
    assert not np.allclose(under_adam.kernel_kt, plain.kernel_kt, rtol=0.1)


def test_the_plain_metric_takes_no_squares(model, dataset, monkeypatch):
    # They cost a product for every sample, and nothing looks at them.
    asked, original = [], divided_pass.GroupSums

    def noted(*args, **settings):
        asked.append(settings["with_squares"])
        return original(*args, **settings)

    monkeypatch.setattr(divided_pass, "GroupSums", noted)
    estimator(dataset, "plain").measure(model, None, index=0)
    assert asked
    assert not any(asked)


def test_a_robust_task_is_the_mean_of_samples_whose_steps_are_no_longer_than_their_median(
    model, dataset
):
    optimizer = stepped(model)
    found = estimator(dataset, "step", robust_tasks=True).measure(model, optimizer, index=0)
    scale_p = np.concatenate(
        [
            1.0 / (optimizer.state[p]["exp_avg_sq"].div(0.001).sqrt() + 1e-8).double().flatten()
            for p in model.parameters()
        ]
    )
    row_np = np.stack([slow_gradient(model, dataset, [n], False) for n in range(18)])
    length_n = np.linalg.norm(row_np * scale_p, axis=1)
    factor_n = np.minimum(1.0, np.sort(length_n)[8] / length_n)  # torch's median is the lower one
    assert factor_n.min() < 0.9
    task_p = (row_np * factor_n[:, None]).mean(0)
    domain_kp = np.stack([slow_gradient(model, dataset, s.tolist(), True) for s in MEMBERS])
    for task in range(2):
        expected_k = domain_kp @ (scale_p * task_p)
        np.testing.assert_allclose(found.matrices.kernel_kt[:, task], expected_k, rtol=5e-3)
        norm = task_p @ (scale_p * task_p)
        np.testing.assert_allclose(found.matrices.target_norm_t[task], norm, rtol=5e-3)
    plain = estimator(dataset, "step").measure(model, optimizer, index=0).matrices
    assert not np.allclose(plain.kernel_kt, found.matrices.kernel_kt, rtol=0.05)


def test_measurements_take_other_coordinates_and_their_mean_is_that_of_all(model, dataset):
    whole = estimator(dataset, "plain").measure(model, None, index=0).matrices.kernel_kt
    some = estimator(dataset, "plain", max_coordinates=900)
    found_nkt = np.stack(
        [some.measure(model, None, index=index).matrices.kernel_kt for index in range(40)]
    )
    spread_kt = found_nkt.std(axis=0)
    assert (spread_kt > 0).all()
    assert (np.abs(found_nkt.mean(axis=0) - whole) < 4 * spread_kt / 40**0.5).all()
    first, second = (some.grouped_gradients(model, index=index) for index in range(2))
    moments = {name: torch.rand_like(p) for name, p in model.named_parameters()}
    assert first.coordinates.size == second.coordinates.size
    assert not torch.equal(first.coordinates.gather(moments), second.coordinates.gather(moments))


def test_an_error_is_that_of_all_samples_though_some_are_kept():
    generator = torch.Generator().manual_seed(3)
    kernel_k = torch.randn(5, generator=generator, dtype=torch.float64)
    influence_mk = torch.randn(9, 5, generator=generator, dtype=torch.float64)
    exact_k = torch.zeros(5, dtype=torch.float64)
    of_kept = preference_error(kernel_k, exact_k, influence_mk, 9)
    of_all = preference_error(kernel_k, exact_k, influence_mk, 36)
    torch.testing.assert_close(of_all, of_kept / 2)
