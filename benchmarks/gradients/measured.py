"""What was measured of a row."""

import statistics
from dataclasses import dataclass, field

from benchmarks.gradients.row import Output, Row


@dataclass(eq=False)
class Measured:
    """A row's numbers, filled in by one stage after another."""

    row: Row
    problem: str | None = None
    """Why there are no numbers: a missing library, an exception."""
    seconds: list[float] = field(default_factory=list)
    """One batch, round by round: processor time on a CPU with one thread, else wall time."""
    ratios: list[float] = field(default_factory=list)
    """To the baseline, which ran just before and just after."""
    plain_ratios: list[float] = field(default_factory=list)
    """To the plain float32 pass of the same round."""
    outputs: dict[int, Output] = field(default_factory=dict)
    """By number of the batch."""
    num_dims: int | None = None
    correlation: float | None = None
    """Pearson's, of cosines of features with those of full gradients, over all pairs."""
    absolute_error: float | None = None
    """Mean, of the same cosines."""
    own_correlation: float | None = None
    """The same correlation with the gradients of the blocks' linear layers alone."""
    own_absolute_error: float | None = None
    relative_error: float | None = None
    """Of a Fisher diagonal, ‖F − F'‖ / ‖F'‖ with F' from a loop over samples."""
    loaded_mb: float | None = None
    """Memory before the first batch: the interpreter, libraries, the model."""
    peak_mb: float | None = None

    def note_time(self, row_s: float, baseline_s: float, plain_s: float) -> None:
        """Add one round."""
        self.seconds.append(row_s)
        self.ratios.append(row_s / baseline_s)
        self.plain_ratios.append(row_s / plain_s)

    @property
    def ratio(self) -> float | None:
        """Median ratio to the baseline."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def plain_ratio(self) -> float | None:
        """Median ratio to the plain float32 pass."""
        return statistics.median(self.plain_ratios) if self.plain_ratios else None

    def tokens_per_second(self, batch_tokens: int) -> float | None:
        """At the median time of a batch."""
        return batch_tokens / statistics.median(self.seconds) if self.seconds else None
