"""What a stage takes, by its own progress: when it began, said how far it is, and ended."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class Bar:
    """One bar of a stage.

    Attributes:
        title: As the stage calls it.
        began_s: By the clock.
        marks: When it said what it had done since the last mark.
        ended_s: By the clock.
    """

    title: str
    began_s: float
    marks: list[tuple[float, float]] = field(default_factory=list)
    ended_s: float = 0.0

    @property
    def time_s(self) -> float:
        """From its beginning to its end."""
        return self.ended_s - self.began_s

    @property
    def until_last_mark_s(self) -> float:
        """From its beginning to when it last said that something was done."""
        return self.marks[-1][0] - self.began_s if self.marks else 0.0

    @property
    def all_laps_s(self) -> list[float]:
        """From its beginning to the first mark, and from mark to mark."""
        times = [self.began_s, *(at for at, _ in self.marks)]
        return [after - before for before, after in pairwise(times)]

    @property
    def laps_s(self) -> list[float]:
        """From mark to mark."""
        return self.all_laps_s[1:]

    @property
    def done_laps_s(self) -> list[float]:
        """Those of ``all_laps_s`` at whose end something was done."""
        amounts = (amount for _, amount in self.marks)
        return [lap_s for lap_s, amount in zip(self.all_laps_s, amounts, strict=True) if amount]


class StageClock:
    """A progress that shows nothing and remembers when it was called.

    Args:
        now: The clock, in seconds: `time.perf_counter`, or `time.process_time` where others use
            the machine too.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.bars: list[Bar] = []
        self.said: list[tuple[float, str]] = []

    def clear(self) -> None:
        """Forget everything."""
        self.bars, self.said = [], []

    def say(self, line: str) -> None:
        """Remember a line."""
        self.said.append((self.now(), line))

    @contextmanager
    def bar(self, title: str, total: float) -> Iterator[Callable[[float], None]]:
        """Remember a bar."""
        bar = Bar(title, self.now())
        self.bars.append(bar)
        yield lambda amount: bar.marks.append((self.now(), amount))
        bar.ended_s = self.now()
