"""What is said of a stage: numbers, each measured or extrapolated, and where they come from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A number, and whether it was measured here or carried on from what was."""

    value: float
    is_measured: bool

    def __add__(self, other: "Known") -> "Known":
        """The sum; measured if both are."""
        return Known(self.value + other.value, self.is_measured and other.is_measured)


@dataclass(frozen=True)
class StageEstimate:
    """What a stage will take.

    Attributes:
        stage: Its name.
        time_s: Seconds.
        memory_bytes: Main memory at the peak, of the whole process.
        device_bytes: Memory of the GPU at the peak; 0 without one.
        disk_bytes: What it leaves in the run folder.
        how: Where the time comes from, for the person who reads it.
    """

    stage: str
    time_s: Known
    memory_bytes: Known
    device_bytes: Known
    disk_bytes: Known
    how: str


@dataclass(frozen=True)
class Totals:
    """Of all stages: times and disk added up, the highest peaks of memory."""

    time_s: Known
    memory_bytes: Known
    device_bytes: Known
    disk_bytes: Known

    @classmethod
    def of(cls, estimates: list[StageEstimate]) -> "Totals":
        """The totals of some stages, at least one."""
        nothing = Known(0.0, is_measured=True)
        return cls(
            sum((each.time_s for each in estimates), nothing),
            max((each.memory_bytes for each in estimates), key=lambda known: known.value),
            max((each.device_bytes for each in estimates), key=lambda known: known.value),
            sum((each.disk_bytes for each in estimates), nothing),
        )
