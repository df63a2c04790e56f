"""Tests of one trained model, task by task, in whatever processes there are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dids.config.schema import ModelConfig
from dids.data.dataset import PaddingCollator
from dids.data.records import Record
from dids.data.rendering import PromptFormat
from dids.data.token_store import TokenStore
from dids.data.tokenizer import load_tokenizer
from dids.evaluation.choices import choice_accuracy
from dids.evaluation.task_loss import task_loss
from dids.training.models import model_device, tested_model


@dataclass(frozen=True, eq=False)
class TaskTest:
    """One task's test.

    Attributes:
        task: Its name.
        store: Its tokenised items.
        choice_records: Those of its records whose choices are scored.
    """

    task: str
    store: TokenStore
    choice_records: Sequence[Record]


@dataclass(frozen=True)
class TaskTests:
    """What a worker needs to test a model on any task.

    Attributes:
        model: The folder of a model that a stage has saved, or one that is loaded by its name.
        tokenizer_folder: Where the run's tokenizer is.
        trust_remote_code: Whether code that comes with either may run.
        collate: Makes a batch of items.
        prompt_format: What is made of a prompt.
        sequence_length: Tokens of a prompt with a choice, at most.
        batch_size: Samples, or choices, of one forward pass.
    """

    model: Path | ModelConfig
    tokenizer_folder: Path
    trust_remote_code: bool
    collate: PaddingCollator
    prompt_format: PromptFormat
    sequence_length: int
    batch_size: int

    needs_model = True

    def opened(self) -> Callable[[TaskTest, Callable[[int], None]], dict[str, Any]]:
        """Load the model; what is returned does one task's test.

        It says of each that it begins, with 0, and that it is done.
        """
        tokenizer = load_tokenizer(
            str(self.tokenizer_folder), trust_remote_code=self.trust_remote_code
        )
        model = tested_model(
            self.model,
            model_device(),
            vocab_size=len(tokenizer),
            trust_remote_code=self.trust_remote_code,
        )

        def tested(test: TaskTest, advance: Callable[[int], None]) -> dict[str, Any]:
            advance(0)
            result: dict[str, Any] = {"num_test": test.store.num_samples, "test_loss": None}
            loss = task_loss(model, test.store, self.collate, batch_size=self.batch_size)
            if loss is not None:
                result |= {"test_loss": loss.loss, "test_loss_se": loss.standard_error}
            accuracy = choice_accuracy(
                model,
                tokenizer,
                test.choice_records,
                prompt_format=self.prompt_format,
                sequence_length=self.sequence_length,
                batch_size=self.batch_size,
            )
            if accuracy is not None:
                result |= {
                    "accuracy": accuracy.accuracy,
                    "accuracy_norm": accuracy.length_normalised_accuracy,
                    "accuracy_se": accuracy.standard_error,
                }
            advance(1)
            return result

        return tested
