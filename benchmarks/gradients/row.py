"""What a row of the table is.

Axes: b sequences of a batch, d feature dimensions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from benchmarks.gradients.subject import Batch, Subject

Output = Tensor | Mapping[str, Tensor] | None
"""Features ``[b, d]``; a batch's mean squared per-sample gradient by parameter name; or nothing."""
Step = Callable[[Batch], Output]
"""One batch, all of its work."""
Kind = Literal["pass", "features", "fisher", "training"]

FISHER_BATCHES = 4
"""Of one Fisher diagonal: 32 samples, about as few as say anything."""

PLAIN = "plain forward and backward pass"
PLAIN_BF16 = "plain pass, bf16 autocast"
TRAINING = "plain training step (AdamW)"


@dataclass(frozen=True)
class Row:
    """One way to do one thing."""

    name: str
    kind: Kind
    """What it measures, hence what its output is compared with."""
    prepared: Callable[[Subject], Step]
    """Everything that is done once; raises ImportError where a library is missing."""
    dim: int | None = None
    """Feature dimensions asked for; libraries that lay layers side by side come near."""
    baseline: str = PLAIN
    """The row that is 1: the same work without what is measured, in the same precision."""
    covers: Literal["all", "linear", "other"] = "all"
    """Whether features are of all parameters, or of the blocks' linear layers alone."""
    is_ours: bool = False
    batches_a_call: int = 1
    """A call looks at its batch so many times, and counts by the batch."""
    quality_batch: int | None = None
    """Sequences at once where only features are wanted, for projections whose matrix is drawn anew
    at every call."""
