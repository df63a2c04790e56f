"""Impact with losses of one's own: by what a token's loss was multiplied is found out."""

import logging

import numpy as np
import pytest
import torch
from ranks import on_ranks
from test_policy_mixture import TASKS, kernels, policy_mixture
from tiny_trainer import TinyTrainer, tiny_trainer
from torch.nn import functional

from dids.gradients.grouped_gradients import GroupedGradients

pytestmark = pytest.mark.filterwarnings("ignore")


def total(model, inputs, num_items_in_batch=None):
    """The sum of the tokens' losses, and how many there are."""
    labels = inputs["labels"][:, 1:].flatten()
    logits = model(inputs["input_ids"], inputs["attention_mask"]).logits[:, :-1].flatten(0, 1)
    return functional.cross_entropy(logits, labels, reduction="sum"), (labels != -100).sum()


class MeanOfItsMicroBatch(TinyTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, scored = total(model, inputs)
        return loss / scored


class MeanThatSaysSo(MeanOfItsMicroBatch):
    """What Transformers has since 5.19 for those that do not divide by the step's tokens."""

    loss_is_scaled_for_ga = False


class MeanThatAcceptsNothing(MeanOfItsMicroBatch):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False


class Divided(TinyTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, _ = total(model, inputs)
        return loss / num_items_in_batch * self.accelerator.num_processes


class WithItsOwnAtTheEnd(TinyTrainer):
    """Asks the Trainer's own, as many do; nobody knows this from outside."""

    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


def mean_of_outputs(outputs, labels, num_items_in_batch=None):
    logits = outputs["logits"][:, :-1].flatten(0, 1)
    return functional.cross_entropy(logits, labels[:, 1:].flatten())


class Function(TinyTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.compute_loss_func = mean_of_outputs


OWN = [
    MeanOfItsMicroBatch, MeanThatSaysSo, MeanThatAcceptsNothing, Divided, WithItsOwnAtTheEnd,
    Function,
]  # fmt: skip


def measured(folder, trainer, **changes):
    """Kernels of a model that stays as it is, from the gradients of all its steps.

    Without Adam, whose moments say how long a task's gradients are.
    """
    settings = {
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "learning_rate": 0.0,
        "dropout": 0.0, "save_strategy": "no", "max_steps": 4, "optim": "sgd", **changes,
    }  # fmt: skip
    mixture = policy_mixture(
        metric="plain", lag=1, rounds=2, floor=1.0, overhead=1.0, first_overhead=0.9
    )
    made = tiny_trainer(folder, mixture, trainer=trainer, eval_dataset=TASKS, **settings)
    made.train()
    return kernels(made, mixture.history.impact[-1]["round"])


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    found = measured(tmp_path_factory.mktemp("expected"), TinyTrainer)
    assert np.abs(found).min() > 1e-5
    return found


@pytest.mark.parametrize("own", OWN)
def test_kernels_are_those_of_the_trainers_own_loss(own, tmp_path, expected):
    np.testing.assert_allclose(measured(tmp_path, own), expected, rtol=1e-4)


def on_rank(folder, own):
    return measured(folder, own, gradient_accumulation_steps=2).tolist()


@pytest.mark.parametrize("own", [MeanOfItsMicroBatch, Divided])
def test_so_they_are_on_two_ranks(own, tmp_path, expected):
    first, second = on_ranks(tmp_path / "ranks", 2, on_rank, tmp_path / "run", own)
    assert first == second
    np.testing.assert_allclose(first, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("own", "accumulation", "is_warned"),
    [
        (MeanOfItsMicroBatch, 4, True),
        (MeanOfItsMicroBatch, 1, False),
        (MeanThatSaysSo, 4, False),
        (MeanThatAcceptsNothing, 4, False),
        (Divided, 4, False),
    ],
)
def test_gradients_that_are_too_large_are_said_once(own, accumulation, is_warned, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="dids"):
        measured(tmp_path, own, gradient_accumulation_steps=accumulation)
    said = [m for m in caplog.messages if "gradients are 4 times as large" in m]
    assert len(said) == is_warned


def test_looking_leaves_dropout_as_it_was(tmp_path):
    def losses(folder, trainer):
        made = tiny_trainer(
            folder, policy_mixture(), trainer=trainer, eval_dataset=TASKS, dropout=0.5,
            save_strategy="no",
        )  # fmt: skip
        made.train()
        return made.step_losses

    assert losses(tmp_path / "a", WithItsOwnAtTheEnd) == losses(tmp_path / "b", TinyTrainer)


def test_a_micro_batch_without_anything_scored_says_nothing(tmp_path, monkeypatch):
    """The first that has a scored token tells; what was collected before has no gradient."""
    scales = []
    real = GroupedGradients.collecting

    def collecting(self, group_b, scored_b, per_token, *args, **kwargs):
        scales.append(per_token * max(1, int(scored_b.sum())))
        return real(self, group_b, scored_b, per_token, *args, **kwargs)

    class Late(MeanOfItsMicroBatch):
        def training_step(self, model, inputs, *args, **kwargs):
            if not scales:
                inputs["labels"] = torch.full_like(inputs["labels"], -100)
            return super().training_step(model, inputs, *args, **kwargs)

        def compute_loss(self, model, inputs, **kwargs):
            loss, scored = total(model, inputs)
            return loss / scored.clamp(min=1)

    monkeypatch.setattr(GroupedGradients, "collecting", collecting)
    made = tiny_trainer(
        tmp_path, policy_mixture(overhead=1.0), trainer=Late, eval_dataset=TASKS, dropout=0.0,
        save_strategy="no",
    )  # fmt: skip
    made.train()
    assert len(scales) > 3
    assert scales[0] != pytest.approx(1.0)
    assert scales[1:] == pytest.approx([1.0] * (len(scales) - 1))
