"""Measures impact on a model as it is: gradients of every domain and task, then pure mathematics.

While a model trains, the domains' gradients are by-products of its own steps (`GroupedGradients`);
before it does, and for a domain that was hardly drawn, a few samples are taken for them.

Several ranks divide the samples and all of them have the result; every rank must ask.

Axis letters: k domains, t tasks, p parameters. Which samples are taken is a function of (seed,
index of the measurement, domain or task); tasks take the next samples of their validation set
every time, so that the average over rounds sees all of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dids.data.dataset import Samples
from dids.errors import InputError, check_choice
from dids.gradients.coordinates import Coordinates
from dids.gradients.grouped_gradients import GroupedGradients
from dids.gradients.losses import sample_losses
from dids.gradients.model_state import evaluation_mode
from dids.gradients.sample_rows import ROWS
from dids.gradients.shards import is_sharded
from dids.gradients.statistics import GradientStatistics
from dids.impact.blockwise_products import OF_FISHER, MeasuredGradient, Within
from dids.impact.brackets import brackets
from dids.impact.divided_pass import SampleGroup, measured_gradients, own_batches
from dids.impact.matrices import ImpactMatrices
from dids.impact.measured_matrices import measured_matrices
from dids.impact.measuring_budget import MeasuringBudget
from dids.impact.preconditioner import Preconditioner, SecondMoments
from dids.ranks import sum_over_ranks_

_BRACKET_SAMPLES = 4  # of a domain, at least


@dataclass(frozen=True)
class ImpactMeasurement:
    """Impact of every domain on every task, and what it cost."""

    matrices: ImpactMatrices
    num_gradient_samples: int


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
        within: The metric that steps are compared in.
        seed: Of the choice of samples and coordinates.
        robust_tasks: Whether a sample of a task whose step is longer than the median of the task's
            samples' is shortened to it. A mean is what most of its samples ask for then: of eight
            samples with one long gradient it is that one's otherwise.
        batch_size: Samples of one forward and backward pass.
        domain_batch_size: The same of the domains' own samples. None: as of the tasks'.

    Raises:
        InputError: If there is no domain or no task, a task has no sample with a scored token, or
            a name is none of those that can be.
    """

    def __init__(
        self,
        *,
        dataset: Samples,
        members_by_domain: Sequence[np.ndarray],
        domain_names: Sequence[str],
        tasks: Mapping[str, Samples],
        collate: Callable[[list[Any]], Mapping[str, Tensor]],
        budget: MeasuringBudget,
        max_coordinates: int | None,
        labels: Literal["data", "model"],
        seed: int,
        domain_gradients: Literal["training", "samples"] = "training",
        within: Within = "fisher",
        robust_tasks: bool = True,
        batch_size: int = 16,
        domain_batch_size: int | None = None,
    ) -> None:
        if not tasks or not members_by_domain:
            what = "domain" if tasks else "task"
            raise InputError(f"impact is of domains on tasks, but there is no {what}.")
        check_choice("within", within, get_args(Within))
        check_choice("labels", labels, ("data", "model"))
        check_choice("domain_gradients", domain_gradients, ("training", "samples"))
        self.dataset = dataset
        self.members_by_domain = [np.asarray(members) for members in members_by_domain]
        self.domain_names = list(domain_names)
        self.tasks = tasks
        self.collate = collate
        self.budget = budget
        self.max_coordinates = max_coordinates
        self.labels = labels
        self.domain_gradients = domain_gradients
        self.within = within
        self.seed = seed
        self.robust_tasks = robust_tasks
        self.batch_size = batch_size
        self.domain_batch_size = batch_size if domain_batch_size is None else domain_batch_size
        self._scored_by_domain = dataset.scored(members_by_domain)
        self._order_by_task = {
            task: np.random.Generator(np.random.Philox(key=[seed, 2**32 + index])).permutation(
                _with_a_loss(task, samples)
            )
            for index, (task, samples) in enumerate(tasks.items())
        }

    def grouped_gradients(self, model: nn.Module, *, index: int) -> GroupedGradients | None:
        """What collects the domains' gradients while a model trains; None if samples are taken.

        Args:
            model: The model that is trained.
            index: Of the coordinates: another index takes others, so that the average over
                measurements sees more of the model than one.
        """
        if self.domain_gradients == "samples":
            return None
        coordinates = self._coordinates(model, index)
        return GroupedGradients(model, coordinates, len(self.members_by_domain))

    def measure(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        index: int,
        training: GroupedGradients | None = None,
    ) -> ImpactMeasurement:
        """Impact at the model and optimizer state as they are.

        Args:
            model: The model that is trained.
            optimizer: Its optimizer; None stands for plain gradient steps.
            index: Of the measurement; another index takes other samples.
            training: The domains' gradients, as training gave them, with their coordinates; of this
                rank, and of all of them afterwards. Of a domain that it hardly drew from, samples
                are taken.
        """
        coordinates = self._coordinates(model, index) if training is None else training.coordinates
        preconditioner = Preconditioner.of(model, optimizer, coordinates)
        return self._measured(model, coordinates, preconditioner, index, training)

    def measure_with(
        self, model: nn.Module, moments: SecondMoments | None, *, index: int
    ) -> ImpactMeasurement:
        """Impact at a model whose optimizer has left its second moments alone."""
        coordinates = self._coordinates(model, index)
        preconditioner = Preconditioner.adam(moments, coordinates, next(model.parameters()).device)
        return self._measured(model, coordinates, preconditioner, index, None)

    def _measured(
        self,
        model: nn.Module,
        coordinates: Coordinates,
        preconditioner: Preconditioner,
        index: int,
        training: GroupedGradients | None,
    ) -> ImpactMeasurement:
        known = self._known(training)
        unknown = [domain for domain, seen in enumerate(known) if seen is None]
        taken = self._of_domains(model, coordinates, unknown, index)
        found = dict(zip(unknown, taken, strict=True))
        domains = [found[domain] if seen is None else seen for domain, seen in enumerate(known)]
        tasks = self._of_tasks(model, coordinates, preconditioner, index)
        matrices = measured_matrices(
            domains,
            tasks,
            within=self.within,
            preconditioner=preconditioner,
            weight_p=coordinates.weight_p.to(next(model.parameters()).device),
            domain_names=tuple(self.domain_names),
            task_names=tuple(self.tasks),
        )
        num_samples = sum(each.mean.num_samples for each in [*taken, *tasks])
        return ImpactMeasurement(matrices, num_samples)

    def task_samples(self, index: int) -> dict[str, np.ndarray]:
        """The validation samples of each task that a measurement takes, by its index."""
        chosen = {}
        for task, order in self._order_by_task.items():
            size = min(self.budget.task_samples, len(order))
            start = index * size % len(order)
            chosen[task] = np.roll(order, -start)[:size]
        return chosen

    def task_losses(self, model: nn.Module) -> dict[str, float]:
        """Mean validation loss of every task, on the same samples each time."""
        sum_t = torch.zeros(len(self.tasks), dtype=torch.float64)
        num_samples = []
        with evaluation_mode(model), torch.no_grad():
            for number, (task, samples) in enumerate(self.tasks.items()):
                chosen = self._order_by_task[task][: self.budget.validation_samples]
                num_samples.append(len(chosen))
                ordered = _by_length(samples, chosen)
                for place_b in own_batches(len(chosen), self.batch_size):
                    if len(place_b) > 0:
                        batch = self._batch(model, samples, ordered[place_b])
                        sum_t[number] += sample_losses(model, batch).double().sum().cpu()
                    elif is_sharded(model):  # the others' pass needs this rank in it
                        sample_losses(model, self._batch(model, samples, ordered[:1]))
        sum_over_ranks_(sum_t)
        return {
            task: total / num
            for task, total, num in zip(self.tasks, sum_t.tolist(), num_samples, strict=True)
        }

    def brackets(self, model: nn.Module, *, index: int) -> np.ndarray:
        """Lie brackets of the domains' gradients at the model as it is, see `dids.impact.brackets`.

        Args:
            model: The model that is trained.
            index: Of the measurement; another index takes other samples.

        Returns:
            ``[k, k]``.
        """
        size = min(max(self.budget.domain_samples, _BRACKET_SAMPLES), self.domain_batch_size)
        domains = [
            # A domain of which nothing is scored has no gradient, but it has its row.
            self._samples(k, index, size) if len(self._scored_by_domain[k]) else members[:1]
            for k, members in enumerate(self.members_by_domain)
        ]
        tasks = self.task_samples(index).items()
        return brackets(
            model,
            [self._first_batch(model, self.dataset, chosen) for chosen in domains],
            [self._first_batch(model, self.tasks[task], chosen) for task, chosen in tasks],
        )

    def _coordinates(self, model: nn.Module, index: int) -> Coordinates:
        seed = self.seed * 1_000_003 + index
        # Two halves of every domain in float32, and samples of every task in bfloat16.
        num_rows = len(self.tasks) * self.budget.task_samples
        held_bytes = 8 * len(self.members_by_domain) + 2 * num_rows
        return Coordinates.of(
            model, max_coordinates=self.max_coordinates, seed=seed, held_bytes=held_bytes
        )

    def _known(self, training: GroupedGradients | None) -> list[MeasuredGradient | None]:
        """What training says of each domain; None where it says nothing."""
        if training is None:
            return [None] * len(self.members_by_domain)
        training.sum_over_ranks()
        pairs = zip(training.statistics(), training.samples(), strict=True)
        return [None if mean is None else MeasuredGradient(mean, sample) for mean, sample in pairs]

    def _of_domains(
        self, model: nn.Module, coordinates: Coordinates, domains: Sequence[int], index: int
    ) -> list[MeasuredGradient]:
        """Of samples taken for it."""
        if self.budget.domain_samples == 0:
            nothing = GradientStatistics.nothing(model, coordinates)
            return [MeasuredGradient(nothing, None)] * len(domains)
        if not domains:
            return []
        num = self.budget.domain_samples
        return measured_gradients(
            model,
            coordinates,
            [SampleGroup(self.dataset, self._samples(k, index, num)) for k in domains],
            self.collate,
            batch_size=self.domain_batch_size,
            num_rows=ROWS,
            with_squares=False,
            # The trainer's loss is a mean over tokens: so is the step that a domain causes.
            by_tokens=True,
        )

    def _of_tasks(
        self, model: nn.Module, coordinates: Coordinates, preconditioner: Preconditioner, index: int
    ) -> list[MeasuredGradient]:
        weight_p = coordinates.weight_p.to(next(model.parameters()).device)

        def step_length(row_rp: Tensor) -> Tensor:
            return torch.sqrt(preconditioner.times(row_rp).square() @ weight_p)

        chosen = self.task_samples(index)
        return measured_gradients(
            model,
            coordinates,
            [SampleGroup(self.tasks[task], samples) for task, samples in chosen.items()],
            self.collate,
            batch_size=self.batch_size,
            num_rows=self.budget.task_samples,
            with_squares=self.within in OF_FISHER,
            labels=self.labels,
            generator=torch.Generator().manual_seed(self.seed * 1_000_003 + index),
            shortened_by=step_length if self.robust_tasks else None,
        )

    def _first_batch(
        self, model: nn.Module, samples: Samples, chosen: np.ndarray
    ) -> dict[str, torch.Tensor]:
        return self._batch(model, samples, _by_length(samples, chosen)[: self.batch_size])

    def _batch(
        self, model: nn.Module, samples: Samples, chosen: np.ndarray
    ) -> dict[str, torch.Tensor]:
        device = next(model.parameters()).device
        batch = self.collate(samples.__getitems__(chosen.tolist()))
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def _samples(self, domain: int, index: int, num: int) -> np.ndarray:
        members = self._scored_by_domain[domain]
        random = np.random.Generator(
            np.random.Philox(key=[self.seed, domain], counter=[0, 0, 0, index])
        )
        return random.choice(members, size=min(num, len(members)), replace=False)


def _with_a_loss(task: str, samples: Samples) -> np.ndarray:
    """A task's samples that have a scored token: one without has no loss, and asks for nothing."""
    (scored_m,) = samples.scored([np.arange(len(samples))])
    if len(scored_m) == 0:
        raise InputError(f"task '{task}': none of its {len(samples)} samples has a scored token.")
    return scored_m


def _by_length(samples: Samples, chosen: np.ndarray) -> np.ndarray:
    """Sample ids with like lengths side by side, which share a batch."""
    return chosen[np.argsort(samples.lengths[chosen], kind="stable")]
