"""Samples, tokens and cut records of a source, from some of its records drawn evenly."""

import math
import random
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from dids.data.records import Origin, Record
from dids.data.rendering import PromptFormat, encode_records
from dids.data.sequence_length import fit_to_length

NUM_DRAWN = 500
_MAX_CHARACTERS = 20_000
"""Of a longer text the beginning alone is tokenised."""


@dataclass(frozen=True)
class SourceSize:
    """What a source comes to in the model's terms."""

    samples: int
    tokens: int
    num_truncated: int
    """Records that lose tokens."""
    is_exact: bool = False
    truncated: tuple[Origin, ...] = ()
    """The first of those that were looked at."""


class TokenEstimate:
    """Counts every record and draws some (reservoir sampling: each with the same probability).

    Args:
        seed: Of the draw.
        num_drawn: How many.
    """

    def __init__(self, seed: int = 0, num_drawn: int = NUM_DRAWN) -> None:
        self.num_records = 0
        self.num_characters = 0
        self._num_drawn = num_drawn
        self._generator = random.Random(seed)
        self._drawn: list[tuple[int, Record]] = []

    def look(self, record: Record) -> None:
        """Count a record, and perhaps draw it."""
        size = len(" ".join(record.texts))
        self.num_records += 1
        self.num_characters += size
        if len(self._drawn) < self._num_drawn:
            self._drawn.append((size, _shortened(record)))
        elif (place := int(self._generator.random() * self.num_records)) < self._num_drawn:
            self._drawn[place] = (size, _shortened(record))

    @property
    def drawn(self) -> list[Record]:
        """The records drawn, long texts cut."""
        return [record for _, record in self._drawn]

    def size(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        sequence_length: int,
        prompt_format: PromptFormat,
    ) -> SourceSize:
        """What the records drawn say of all.

        Args:
            tokenizer: That of the run, or one like it.
            sequence_length: Tokens of a sample.
            prompt_format: What is made of prompts.

        Returns:
            Tokens in proportion to characters, samples and cut records to records.
        """
        records = self.drawn
        encoded = encode_records(records, tokenizer, prompt_format=prompt_format)
        samples = tokens = characters = 0.0
        truncated: list[Origin] = []
        for (size, record), whole in zip(self._drawn, encoded, strict=True):
            pieces = fit_to_length(whole, sequence_length)
            kept = sum(len(piece.token_ids) for piece in pieces)
            scale = 1.0 if record.text is None else size / max(1, len(record.text))
            characters += size
            tokens += kept * scale
            samples += math.ceil(len(pieces) * scale)
            if record.text is None and kept < len(whole.token_ids):
                truncated.append(record.origin)
        per_record = self.num_records / max(1, len(records))
        return SourceSize(
            samples=round(samples * per_record),
            tokens=round(tokens * self.num_characters / max(1.0, characters)),
            num_truncated=round(len(truncated) * per_record),
            is_exact=len(records) == self.num_records
            and all(size == len(" ".join(record.texts)) for size, record in self._drawn),
            truncated=tuple(sorted(truncated, key=lambda place: (place.file, place.line))),
        )


def _shortened(record: Record) -> Record:
    if record.text is None or len(record.text) <= _MAX_CHARACTERS:
        return record
    return replace(record, text=record.text[:_MAX_CHARACTERS])
