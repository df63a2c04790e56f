"""SIGTERM, which a cluster sends some seconds before it kills: a training run saves and ends.

Where nothing trains, the process ends at once, as at Ctrl-C: what is finished is in the run folder.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dids.ranks import is_true_on_any_rank

_STATUS = 128 + signal.SIGTERM


class StoppedError(SystemExit):
    """A signal ended the run; the message says where.

    As every ``SystemExit`` it passes through whoever catches mistakes only; ``code`` is 143.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(_STATUS)
        self.sentence = sentence

    @classmethod
    def in_training(cls, step: int) -> "StoppedError":
        """After a step whose checkpoint is saved."""
        return cls(f"stopped by SIGTERM at step {step}; the same command goes on from there.")

    @classmethod
    def at_once(cls) -> "StoppedError":
        """Where nothing was to be saved."""
        return cls("stopped by SIGTERM; the same command goes on from here.")

    def __str__(self) -> str:
        return self.sentence


class StopSignal:
    """Whether SIGTERM has come, and whether someone looks for it between steps.

    Attributes:
        has_come: Since ``caught`` was entered.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._is_awaited = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Inside, SIGTERM ends a training run after its step, and anything else at once."""
        before = signal.signal(signal.SIGTERM, self._receive)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Inside, somebody looks at ``has_come`` again and again."""
        self._is_awaited = True
        try:
            yield
        finally:
            self._is_awaited = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.has_come = True
        if not self._is_awaited:
            raise StoppedError.at_once()


class StopAtStep(TrainerCallback):
    """Ends a training run with a checkpoint after the step in which SIGTERM came to any rank.

    Args:
        stop: Of this process.

    Attributes:
        step: Steps done when the run was ended so; None: it was not.
    """

    def __init__(self, stop: StopSignal) -> None:
        self.stop = stop
        self.step: int | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Ask for a checkpoint and the end; a run that ends anyway just ends."""
        if is_true_on_any_rank(self.stop.has_come) and not control.should_training_stop:
            self.step = state.global_step
            control.should_save = True
            control.should_training_stop = True
        return control
