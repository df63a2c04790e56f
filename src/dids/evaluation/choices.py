"""Multiple choice by likelihood: the choice that the model finds most likely is its answer.

Accuracy takes the choice's summed log-likelihood; length-normalised accuracy divides it by the
choice's number of characters first, because long choices are unlikely for their length alone. Both
as lm-eval's ``acc`` and ``acc_norm`` define them (EleutherAI/lm-evaluation-harness). The end marker
after a choice is not scored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from dids.data.dataset import PaddingCollator
from dids.data.records import Record
from dids.data.rendering import EncodedRecord, PromptFormat, encode_prompt_and_completion
from dids.data.sequence_length import fit_to_length
from dids.evaluation.batches import losses_by_length
from dids.gradients.losses import NOT_SCORED


@dataclass(frozen=True)
class ChoiceAccuracy:
    """How often the right choice is the likeliest."""

    accuracy: float
    length_normalised_accuracy: float
    standard_error: float
    # of accuracy, as a sample mean
    num_items: int


@dataclass(frozen=True)
class ChoiceItem:
    """A record that asks for one of several choices."""

    prompt: str
    choices: tuple[str, ...]
    answer: int


def choice_accuracy(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    *,
    prompt_format: PromptFormat = "chat",
    sequence_length: int,
    batch_size: int,
) -> ChoiceAccuracy | None:
    """How often a model finds the right choice the likeliest.

    Args:
        model: A causal language model, on its device.
        tokenizer: The model's tokenizer.
        records: The task's records; those without choices are left out.
        prompt_format: What is made of the prompt, as in training.
        sequence_length: Greatest number of tokens; longer prompts lose their beginning.
        batch_size: Choices in one forward pass.

    Returns:
        The accuracies, or None if no record has choices.
    """
    items = choice_items(records)
    if not items:
        return None
    encoded = [
        _encoded_choice(item.prompt, choice, tokenizer, prompt_format, sequence_length)
        for item in items
        for choice in item.choices
    ]
    pad = tokenizer.pad_token_id
    losses_n, scored_n = losses_by_length(
        model,
        lambda indices: [_item(encoded[index]) for index in indices],
        [len(choice.token_ids) for choice in encoded],
        PaddingCollator(pad if isinstance(pad, int) else 0),
        batch_size,
    )
    likelihoods = np.split(
        -losses_n * scored_n, np.cumsum([len(item.choices) for item in items])[:-1]
    )
    return accuracy_of_likelihoods(items, likelihoods)


def choice_items(records: Sequence[Record]) -> list[ChoiceItem]:
    """The records that have a prompt, choices and an answer.

    Args:
        records: Any records.

    Returns:
        The items, in order.
    """
    return [
        ChoiceItem(record.prompt, record.choices, record.answer)
        for record in records
        if record.prompt is not None and record.choices and record.answer is not None
    ]


def accuracy_of_likelihoods(
    items: Sequence[ChoiceItem], likelihoods: Sequence[np.ndarray]
) -> ChoiceAccuracy:
    """Accuracies from the log-likelihood of every choice.

    Args:
        items: The questions, at least one.
        likelihoods: For each, the summed log-likelihood of each choice.

    Returns:
        The accuracies. Of equal likelihoods the first counts as the answer.

    Example:
        >>> item = ChoiceItem("?", ("no", "certainly"), 1)
        >>> found = accuracy_of_likelihoods([item], [np.array([-3.0, -4.0])])
        >>> found.accuracy, found.length_normalised_accuracy
        (0.0, 1.0)
    """
    pairs = list(zip(items, likelihoods, strict=True))
    hits = [float(np.argmax(scores) == item.answer) for item, scores in pairs]
    normalised = [
        float(np.argmax(scores / [max(len(choice), 1) for choice in item.choices]) == item.answer)
        for item, scores in pairs
    ]
    count = len(items)
    spread = float(np.std(hits, ddof=1)) if count > 1 else 0.0
    return ChoiceAccuracy(
        accuracy=float(np.mean(hits)),
        length_normalised_accuracy=float(np.mean(normalised)),
        standard_error=spread / math.sqrt(count),
        num_items=count,
    )


def _encoded_choice(
    prompt: str,
    choice: str,
    tokenizer: PreTrainedTokenizerBase,
    prompt_format: PromptFormat,
    sequence_length: int,
) -> EncodedRecord:
    whole = encode_prompt_and_completion(prompt, choice, tokenizer, prompt_format, with_end=False)
    return fit_to_length(whole, sequence_length)[0]


def _item(encoded: EncodedRecord) -> dict[str, torch.Tensor]:
    input_ids = torch.tensor(encoded.token_ids, dtype=torch.int64)
    is_scored = torch.tensor(encoded.is_scored, dtype=torch.bool)
    return {
        "input_ids": input_ids,
        "labels": torch.where(is_scored, input_ids, torch.full_like(input_ids, NOT_SCORED)),
    }
