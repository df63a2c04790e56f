"""Measures impact on a model as it is: gradients of every domain and task, then pure mathematics.

While a model trains, the domains' gradients are by-products of its own steps (`GroupedGradients`);
before it does, and for a domain that was hardly drawn, a few samples are taken for them.

Axis letters: k domains, t tasks, p parameters. Which samples are taken is a function of (seed,
index of the measurement, domain or task); tasks take the next samples of their validation set
every time, so that the average over rounds sees all of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from dids.data.dataset import PaddingCollator, TokenDataset
from dids.gradients.coordinates import Coordinates
from dids.gradients.grouped_gradients import GroupedGradients
from dids.gradients.losses import sample_losses
from dids.gradients.model_state import evaluation_mode
from dids.gradients.statistics import GradientStatistics, gradient_statistics
from dids.impact.matrices import ImpactMatrices
from dids.impact.preconditioner import SecondMoments, optimizer_moments, preconditioner


@dataclass(frozen=True)
class ImpactMeasurement:
    """Impact of every domain on every task, and what it cost."""

    matrices: ImpactMatrices
    num_gradient_samples: int


@dataclass(frozen=True)
class MeasuringBudget:
    """Samples that one measurement takes."""

    domain_samples: int
    task_samples: int
    validation_samples: int

    @classmethod
    def within(
        cls,
        *,
        domain_samples: int,
        task_samples: int,
        validation_samples: int,
        num_domains: int,
        num_tasks: int,
        round_samples: int,
        max_share: float,
    ) -> "MeasuringBudget":
        """What was asked for, scaled down to a share of the samples that a round trains on.

        At least two samples of each domain and task stay: fewer give no estimate at all.

        Args:
            domain_samples: Asked for, of each domain.
            task_samples: Asked for, of each task.
            validation_samples: Of each task, for its loss.
            num_domains: Domains that need samples of their own; 0 where training gives their
                gradients.
            num_tasks: Tasks.
            round_samples: Samples that a round trains on.
            max_share: Of these, at most.
        """
        asked = num_domains * domain_samples + num_tasks * task_samples
        factor = min(1.0, max_share * round_samples / asked)
        return cls(
            max(2, math.floor(domain_samples * factor)),
            max(2, math.floor(task_samples * factor)),
            validation_samples,
        )


class ImpactEstimator:
    """Takes the gradients of domains and tasks and turns them into impact matrices.

    Args:
        dataset: The training samples.
        members_by_domain: Flat sample ids of each domain.
        domain_names: Of the domains.
        tasks: Validation samples of each task.
        collate: Pads samples into a batch.
        budget: Samples of one measurement.
        max_coordinates: Parameters in the inner products, at most; None for all.
        labels: Of the Fisher information: from the data or drawn from the model.
        domain_gradients: ``training`` takes the domains' gradients from the steps that train the
            model, ``samples`` from samples of their own.
        seed: Of the choice of samples and coordinates.
        batch_size: Samples of one forward and backward pass.
    """

    def __init__(
        self,
        *,
        dataset: TokenDataset,
        members_by_domain: Sequence[np.ndarray],
        domain_names: Sequence[str],
        tasks: Mapping[str, TokenDataset],
        collate: PaddingCollator,
        budget: MeasuringBudget,
        max_coordinates: int | None,
        labels: Literal["data", "model"],
        seed: int,
        domain_gradients: Literal["training", "samples"] = "training",
        batch_size: int = 16,
    ) -> None:
        self.dataset = dataset
        self.members_by_domain = members_by_domain
        self.domain_names = list(domain_names)
        self.tasks = tasks
        self.collate = collate
        self.budget = budget
        self.max_coordinates = max_coordinates
        self.labels = labels
        self.domain_gradients = domain_gradients
        self.seed = seed
        self.batch_size = batch_size
        self._scored_by_domain = [
            members[dataset.scored_counts[members] > 0] for members in members_by_domain
        ]
        self._order_by_task = {
            task: np.random.Generator(np.random.Philox(key=[seed, 2**32 + index])).permutation(
                len(samples)
            )
            for index, (task, samples) in enumerate(tasks.items())
        }

    def grouped_gradients(self, model: nn.Module) -> GroupedGradients | None:
        """What collects the domains' gradients while a model trains; None if samples are taken."""
        if self.domain_gradients == "samples":
            return None
        return GroupedGradients(model, self._coordinates(model), len(self.members_by_domain))

    def measure(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        index: int,
        domains: Sequence[GradientStatistics | None] | None = None,
    ) -> ImpactMeasurement:
        """Impact at the model and optimizer state as they are.

        Args:
            model: The model that is trained.
            optimizer: Its optimizer; None stands for plain gradient steps.
            index: Of the measurement; another index takes other samples.
            domains: Gradients of the domains, as training gave them. Where there is none, samples
                are taken.
        """
        moments = optimizer_moments(model, optimizer)
        return self.measure_with(model, moments, index=index, domains=domains)

    def measure_with(
        self,
        model: nn.Module,
        moments: SecondMoments | None,
        *,
        index: int,
        domains: Sequence[GradientStatistics | None] | None = None,
    ) -> ImpactMeasurement:
        """As ``measure``, with the optimizer's second moments given by themselves."""
        coordinates = self._coordinates(model)
        precondition_p = preconditioner(moments, coordinates)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        known = domains or [None] * len(self.members_by_domain)
        found = [
            self._statistics(model, coordinates, self.dataset, self._samples(domain, index))
            if seen is None
            else seen
            for domain, seen in enumerate(known)
        ]
        targets = [
            self._statistics(
                model,
                coordinates,
                self.tasks[task],
                samples,
                labels=self.labels,
                generator=generator,
            )
            for task, samples in self._task_samples(index).items()
        ]

        def step(gradient: torch.Tensor) -> torch.Tensor:
            return gradient if precondition_p is None else gradient * precondition_p

        fisher = [statistics.square_p for statistics in targets]
        matrices = ImpactMatrices.of(
            update_kp=torch.stack([step(d.mean_p) for d in found]),
            update_halves_2kp=torch.stack([step(d.halves_2p) for d in found], dim=1),
            target_tp=torch.stack([step(t.mean_p) for t in targets]),
            target_halves_2tp=torch.stack([step(t.halves_2p) for t in targets], dim=1),
            fisher_tp=torch.stack([square for square in fisher if square is not None]),
            weight_p=coordinates.weight_p,
            domain_names=tuple(self.domain_names),
            task_names=tuple(self.tasks),
        )
        taken = [new for seen, new in zip(known, found, strict=True) if seen is None]
        num_samples = sum(statistics.num_samples for statistics in [*taken, *targets])
        return ImpactMeasurement(matrices, num_samples)

    def task_losses(self, model: nn.Module) -> dict[str, float]:
        """Mean validation loss of every task, on the same samples each time."""
        losses: dict[str, float] = {}
        with evaluation_mode(model), torch.no_grad():
            for task, samples in self.tasks.items():
                chosen = self._order_by_task[task][: self.budget.validation_samples]
                batches = self._batches(model, samples, chosen)
                losses[task] = float(torch.cat([sample_losses(model, b) for b in batches]).mean())
        return losses

    def _coordinates(self, model: nn.Module) -> Coordinates:
        return Coordinates.of(model, max_coordinates=self.max_coordinates, seed=self.seed)

    def _statistics(
        self,
        model: nn.Module,
        coordinates: Coordinates,
        samples: TokenDataset,
        chosen: np.ndarray,
        **fisher: Any,
    ) -> GradientStatistics:
        batches = self._batches(model, samples, chosen)
        if fisher:
            return gradient_statistics(model, batches, coordinates, with_squares=True, **fisher)
        # The trainer's loss is a mean over tokens: so is the step that a domain causes.
        return gradient_statistics(model, batches, coordinates, with_squares=False, by_tokens=True)

    def _batches(
        self, model: nn.Module, samples: TokenDataset, chosen: np.ndarray
    ) -> list[dict[str, torch.Tensor]]:
        device = next(model.parameters()).device
        by_length = chosen[np.argsort(samples.lengths[chosen], kind="stable")]
        return [
            {
                name: tensor.to(device)
                for name, tensor in self.collate(
                    samples.__getitems__(by_length[i : i + self.batch_size].tolist())
                ).items()
            }
            for i in range(0, len(by_length), self.batch_size)
        ]

    def _samples(self, domain: int, index: int) -> np.ndarray:
        members = self._scored_by_domain[domain]
        random = np.random.Generator(
            np.random.Philox(key=[self.seed, domain], counter=[0, 0, 0, index])
        )
        size = min(self.budget.domain_samples, len(members))
        return random.choice(members, size=size, replace=False)

    def _task_samples(self, index: int) -> dict[str, np.ndarray]:
        chosen = {}
        for task, order in self._order_by_task.items():
            size = min(self.budget.task_samples, len(order))
            start = index * size % len(order)
            chosen[task] = np.roll(order, -start)[:size]
        return chosen
