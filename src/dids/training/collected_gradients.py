"""The domains' gradients as by-products of training steps: when they are collected, and kept.

A checkpoint within a round keeps what was added up so far, each rank in a file of its own, so that
a resumed run measures what it would have measured.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from dids.atomic import whole_file
from dids.data.joined_row import LENGTHS, cut_apart
from dids.gradients.grouped_gradients import GroupedGradients
from dids.gradients.losses import NOT_SCORED, scored_counts
from dids.gradients.token_spans import TokenSpans
from dids.ranks import num_ranks, rank
from dids.sampling.sampler import MixtureSampler
from dids.training.round_plan import MeasuresImpact
from dids.training.sample_numbers import SampleNumbers

_FILES = "dids_gradients_*.safetensors"
_NUMBERS = "numbers"
_ORDER = "columns first, half of them of tokens"  # which entries, and how a matrix's lie


class CollectedGradients:
    """Adds up the gradients of training steps by domain.

    Args:
        estimator: Says of what and in which steps.
        sampler: Plans the steps.
        domain_of_sample: Number of the domain of each sample; -1 for one in none.
        is_scored: Whether each sample has a scored token.
        grouping: How often the domains were regrouped since the run began.
    """

    def __init__(
        self,
        estimator: MeasuresImpact,
        sampler: MixtureSampler,
        domain_of_sample: np.ndarray,
        is_scored: np.ndarray,
        grouping: int,
    ) -> None:
        self._budget = estimator.budget
        self._grouped_gradients = estimator.grouped_gradients
        self._domain_of_sample = domain_of_sample
        self._numbers = SampleNumbers(sampler, domain_of_sample, is_scored)
        self._grouping = grouping
        self._is_collected = False
        self.sums: GroupedGradients | None = None
        """What was added up since the last measurement; None where samples are taken instead."""

    def begin(self, model: nn.Module, num_measured: int, checkpoint: Path | None) -> None:
        """Begin after so many measurements with nothing, or with what a checkpoint has kept."""
        self.sums = self._grouped_gradients(model, index=num_measured)
        if self.sums is not None and checkpoint is not None:
            self._load(self.sums, checkpoint)

    def begin_step(self, step: int, round_number: int) -> None:
        """Say which step's batches come next, counted from 0, and in which round it is."""
        is_collected = self._budget.is_collected(step, round_number)
        self._is_collected = self.sums is not None and is_collected
        if self._is_collected:
            self._numbers.begin_step(step)

    def collecting(
        self, inputs: Mapping[str, Any], per_token: Callable[[], float]
    ) -> AbstractContextManager[None]:
        """Inside, a backward pass of training adds to its domains' gradients.

        Args:
            inputs: A batch as the collator made it: ``labels``, ``sample_lengths`` where it is one
                row of several samples and, to be compared with the sampler's plan, ``sample``.
            per_token: What the loss multiplies a scored token's by; asked for only where gradients
                are collected, because the answer waits for the device.
        """
        if self.sums is None or not self._is_collected:
            return nullcontext()
        labels_mt, mask_mt = inputs["labels"], inputs.get("attention_mask")
        sample_m, lengths = inputs.get("sample"), inputs.get(LENGTHS)
        if lengths is not None:
            labels_mt, mask_mt = cut_apart(labels_mt[0], lengths, fill=NOT_SCORED), None
        id_m = self._numbers.planned(len(labels_mt)) if sample_m is None else sample_m.cpu().numpy()
        domain_m = torch.from_numpy(self._domain_of_sample[id_m])
        return self.sums.collecting(
            domain_m,
            scored_counts(labels_mt).cpu(),
            per_token(),
            self._numbers.of_batch(id_m),
            spans=TokenSpans.of(labels_mt, mask_mt),
            lengths=lengths,
        )

    def begin_anew(self, model: nn.Module, num_measured: int) -> float:
        """Begin with nothing after a measurement; seconds that adding up took for it."""
        if self.sums is None:
            return 0.0
        elapsed_s = self.sums.elapsed_s
        self.sums = None  # one after the other: they are large
        self.begin(model, num_measured, None)
        self._numbers.clear()
        return elapsed_s

    def save(self, checkpoint: Path) -> None:
        """Keep this rank's sums with a checkpoint, where there are any."""
        if self.sums is None or not bool(self._numbers.before_k.any()):
            return
        kept = {**self.sums.tensors(), _NUMBERS: self._numbers.before_k}
        with whole_file(checkpoint / _FILES.replace("*", f"{rank() or 0:05}")) as unfinished:
            metadata = self._metadata()
            save_file(
                {name: t.contiguous().cpu() for name, t in kept.items()}, unfinished, metadata
            )

    def _metadata(self) -> dict[str, str]:
        return {"grouping": str(self._grouping), "order": _ORDER}

    def _load(self, sums: GroupedGradients, checkpoint: Path) -> None:
        """Take what a checkpoint has kept; its ranks may have been more or fewer."""
        for number, path in enumerate(sorted(checkpoint.glob(_FILES))):
            with safe_open(path, framework="pt") as file:
                if file.metadata() != self._metadata():
                    return  # of other domains, or of an earlier version's entries
                self._numbers.before_k.copy_(file.get_tensor(_NUMBERS))
                if number % num_ranks() == (rank() or 0):
                    for name, tensor in sums.tensors().items():
                        tensor += file.get_tensor(name).to(tensor.device)
