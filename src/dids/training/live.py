"""What a run that goes on says of itself: one small JSON file, for whoever watches from outside."""

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dids.atomic import write_json
from dids.training.rounds import MixtureRounds

LIVE_NAME = "live.json"
_EVERY_S = 2.0
# a write waits for the disk


class LiveNumbers(TrainerCallback):
    """Writes ``live.json`` every two seconds, at the ends of rounds and at the run's end.

    Args:
        path: The file; the first rank alone writes it.
        rounds: Whose numbers these are; its callback must come before this one.
    """

    def __init__(self, path: Path, rounds: MixtureRounds) -> None:
        self.path = path
        self.rounds = rounds
        self._written_s = 0.0
        self._round = -1

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say that the run is there, before its first step."""
        self._write(state, is_over=False)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write, if the last time is long enough ago or a round began."""
        is_new_round = self.rounds.round != self._round
        if is_new_round or time.monotonic() - self._written_s >= _EVERY_S:
            self._write(state, is_over=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say that the run is over, unless a signal has stopped it."""
        self._write(state, is_over=self.rounds.is_over(state.global_step))

    def _write(self, state: TrainerState, *, is_over: bool) -> None:
        if not state.is_world_process_zero:
            return
        write_json(self.path, live_numbers(self.rounds, state.global_step, is_over=is_over))
        self._written_s = time.monotonic()
        self._round = self.rounds.round


def live_numbers(rounds: MixtureRounds, step: int, *, is_over: bool) -> dict[str, Any]:
    """The numbers of a run after so many steps, as plain JSON values.

    Args:
        rounds: The run.
        step: Optimizer steps done.
        is_over: Whether it has ended.

    Returns:
        What docs/run-folder.md lists of ``live.json``.
    """
    plan, history = rounds.plan, rounds.history
    return {
        "step": step,
        "nominal_steps": plan.nominal_steps,
        "tokens": rounds.sampler.tokens(step),
        "budget_tokens": plan.budget_tokens,
        "round": rounds.round,
        "num_rounds": plan.num_rounds,
        "progress": min(1.0, rounds.progress(step)),
        "tokens_per_s": rounds.pace.tokens_per_s,
        "overhead": rounds.overhead(),
        "mixtures": [entry["probability"] for entry in _first_and_newest(history.mixture)],
        "task_losses": {
            task: [loss for _, loss in points] for task, points in history.task_losses.items()
        },
        "training_loss": history.training_losses[-1][1] if history.training_losses else None,
        "updated_s": time.time(),
        "is_over": is_over,
    }


def _first_and_newest(mixtures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first mixture, the last but one and the last: what came from where, and what moved."""
    return mixtures if len(mixtures) <= 3 else [mixtures[0], *mixtures[-2:]]
