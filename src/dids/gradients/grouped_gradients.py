"""Mean gradients of groups of samples (domains), read off the backward passes that train a model.

A training step computes every sample's gradient anyway, and adds them up at once. Adding them up
by group beside it costs the kept columns' share of a weight gradient, and no forward pass: tens of
samples a group where extra passes would pay for a few.

Axes: b samples, k groups, p coordinates, 2 halves (every other scored sample of a group).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from dids.gradients.coordinates import Coordinates
from dids.gradients.fused_head import may_skip_logits, with_logits
from dids.gradients.group_sums import GroupSums
from dids.gradients.layer_gradient import LayerGradient
from dids.gradients.layers import layer_gradients
from dids.gradients.sample_rows import GroupSample
from dids.gradients.statistics import GradientStatistics
from dids.gradients.token_spans import TokenSpans


class GroupedGradients:
    """Running sums by group.

    The gradients of a round are those of the parameters as they were at each of its steps: their
    mean is that over the round, not at its end.

    Args:
        model: The model that is trained.
        coordinates: Which entries to keep.
        num_groups: Length of the axis k.
    """

    def __init__(self, model: nn.Module, coordinates: Coordinates, num_groups: int) -> None:
        self.model = model
        self.coordinates = coordinates
        self._sums = GroupSums(model, coordinates, num_groups)
        self._num_scored_k = torch.zeros(num_groups, dtype=torch.int64)
        self.elapsed_s = 0.0
        """Seconds spent on adding up since ``clear``."""
        self._per_token = 1.0
        self._may_skip = may_skip_logits(model)

    @contextmanager
    def collecting(
        self,
        group_b: Int64[Tensor, " b"],
        scored_b: Int64[Tensor, " b"],
        per_token: float,
        nth_b: Int64[Tensor, " b"] | None = None,
        *,
        spans: TokenSpans | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Iterator[None]:
        """Add the gradients of one backward pass of a training step that runs inside.

        Args:
            group_b: The group of each sample of the batch.
            scored_b: Scored tokens of each sample, on the CPU like its group: what it weighs in its
                group's mean.
            per_token: What the loss multiplies each scored token's negative log-likelihood by:
                one over the number of tokens that it is a mean over.
            nth_b: Number of each sample among the scored samples of its group since ``clear``, over
                all ranks. None: there is one rank, and they are counted here.
            spans: Which tokens can have a gradient. None: all may.
            lengths: Tokens of each sample, where the batch is one row of all. None: each has a row.

        Yields:
            Nothing. ``.grad`` is filled as it would be outside.
        """
        if nth_b is None:
            nth_b = self._counted(group_b, scored_b)
        self._sums.begin_batch(group_b, scored_b, nth_b)
        self._per_token = per_token
        with (
            with_logits(self.model, may_skip=self._may_skip),
            layer_gradients(
                self.model,
                self._receive,
                weight_gradients=True,
                spans=lambda: spans,
                lengths=lengths,
            ),
        ):
            yield

    def statistics(self) -> list[GradientStatistics | None]:
        """Each group's mean gradient a scored token, and its halves; None where one half is empty.

        Raises:
            InputError: If a gradient is not finite.
        """
        return [
            mean if bool((mean.weight_2 > 0).all()) else None for mean in self._sums.statistics()
        ]

    def samples(self) -> list[GroupSample]:
        """Some samples of each group, by themselves: how far they differ."""
        return self._sums.samples()

    def sum_over_ranks(self) -> None:
        """Take the sums of all ranks; every rank must ask, and ``clear`` before it collects again.

        ``8 K P`` bytes go over the network, for K groups and P coordinates. Of `samples`, each rank
        keeps its own: on the others their gradients are zero.
        """
        self._sums.sum_over_ranks()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added since ``clear``."""
        return self._sums.is_empty

    def tensors(self) -> dict[str, Tensor]:
        """The sums as they are, by name; plain sums, so those of several ranks may be added."""
        return self._sums.tensors()

    def clear(self) -> None:
        """Begin a new round."""
        self.elapsed_s = 0.0
        self._sums.clear()
        self._num_scored_k.zero_()

    def _counted(self, group_b: Tensor, scored_b: Tensor) -> Tensor:
        """Number of each sample among the scored ones of its group; any for one that is not."""
        numbers = []
        for group, scored in zip(group_b.tolist(), scored_b.tolist(), strict=True):
            numbers.append(int(self._num_scored_k[group]))
            self._num_scored_k[group] += scored > 0
        return torch.tensor(numbers, dtype=torch.int64)

    def _receive(self, layer: LayerGradient) -> None:
        began_s = time.perf_counter()
        self._sums.add([layer], scale=1.0 / self._per_token)
        self.elapsed_s += time.perf_counter() - began_s
