"""What a step and the end of a round take, read off the marks of a training's progress."""

import math
from dataclasses import dataclass

from dids.run.plan.stage_clock import Bar


@dataclass(frozen=True)
class Pace:
    """Of a training.

    Attributes:
        step_s: Mean seconds of a step, but for the first.
        round_s: What the end of a round takes: measuring, the next mixture, a checkpoint.
        rest_s: Everything else: building the model, the first step, saving the model.
        num_steps: That this was seen on.
    """

    step_s: float
    round_s: float
    rest_s: float
    num_steps: int

    @classmethod
    def of(cls, bar: Bar, num_rounds: int, total_s: float) -> "Pace":
        """The pace of a training.

        Args:
            bar: Its progress: a mark a step, with the fraction of the run that the step did.
            num_rounds: Of this training.
            total_s: Of the stage, all around the bar included.

        Example:
            >>> bar = Bar("", 0.0, [(3.0, 0.25), (4.0, 0.25), (7.0, 0.25), (8.0, 0.25)], 9.0)
            >>> Pace.of(bar, 2, 10.0)
            Pace(step_s=1.0, round_s=2.0, rest_s=4.0, num_steps=4)
        """
        plain: list[float] = []
        with_round: list[float] = []
        done = 0.0
        for (_, amount), lap_s in zip(bar.marks, bar.laps_s, strict=False):
            # A round ends after the mark of its last step: the next lap has it.
            ended = math.floor((done + amount) * num_rounds + 1e-9) > math.floor(
                done * num_rounds + 1e-9
            )
            done += amount
            (with_round if ended else plain).append(lap_s)
        step_s = _mean(plain) if plain else bar.until_last_mark_s / max(1, len(bar.marks))
        round_s = max(0.0, _mean(with_round) - step_s) if with_round else 0.0
        rest_s = total_s - len(bar.marks) * step_s - len(with_round) * round_s
        return cls(step_s, round_s, max(0.0, rest_s), len(bar.marks))

    def time_s(self, num_steps: float, num_rounds: float) -> float:
        """Of so many steps in so many rounds; nothing is measured after the last.

        Example:
            >>> Pace(step_s=0.5, round_s=2.0, rest_s=4.0, num_steps=9).time_s(100, 10)
            72.0
        """
        return self.rest_s + num_steps * self.step_s + (num_rounds - 1) * self.round_s


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
