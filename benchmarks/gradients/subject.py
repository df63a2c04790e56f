"""What is measured: a small Llama, briefly trained on Python's own texts, and held-out sequences.

Everything comes from the Python installation, so anybody can repeat it. It is made once and kept in
a folder: the tokenizer and the training take longer than measuring.

Axes: n sequences, t tokens, b sequences of a batch.
"""

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from dids.atomic import whole_folder
from dids.data.python_corpus import PARTS, corpus_texts
from dids.data.tokenizer import train_tokenizer
from dids.gradients import sample_losses

Batch = dict[str, Tensor]

RULES_VERSION = 1
"""Goes into the folder's name: raise it when another subject comes out of the same settings."""
HELD_OUT = 256
"""Sequences that are kept for measuring, at most."""
FITTED = 32
"""Of these the last ones, which nothing is measured on: for projections to be fitted to."""
LEADING = 128
"""Of those that are not measured: the most whose directions 1,024 dimensions have room for."""
TOKENIZER_CHARACTERS = 400_000
"""What the tokenizer sees of each part."""
_WARMUP_STEPS = 20


@dataclass(frozen=True)
class Shape:
    """A Llama with tied embeddings and grouped-query attention (8 heads, 4 of keys)."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    vocab_size: int


SHAPES = {
    "tiny": Shape(32, 64, 2, 300),
    "7m": Shape(256, 1024, 6, 4096),
    "30m": Shape(512, 1536, 8, 8192),
    "100m": Shape(768, 2048, 12, 32768),
}


@dataclass(frozen=True)
class SubjectSettings:
    """What decides the model and the sequences."""

    size: str = "7m"
    num_tokens: int = 256
    batch_size: int = 8
    training_steps: int = 200
    parts: tuple[str, ...] = tuple(PARTS)

    @property
    def folder_name(self) -> str:
        """The same settings, the same folder."""
        described = json.dumps([RULES_VERSION, asdict(self), asdict(SHAPES[self.size])])
        return f"{self.size}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and the batches that all rows see."""

    folder: Path
    model: nn.Module
    batches: tuple[Batch, ...]
    fitted_to: tuple[Batch, ...]
    """Other sequences, for projections that are fitted to some."""
    leading: tuple[Batch, ...]
    """Others again, whose directions features keep."""
    is_for_one_row: bool = False
    """Whether a row may have the model itself: a copy would count as memory."""

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    @property
    def batch_tokens(self) -> int:
        """Tokens of one batch."""
        return self.batches[0]["input_ids"].numel()

    @property
    def num_sequences(self) -> int:
        """Sequences in all batches."""
        return sum(len(batch["input_ids"]) for batch in self.batches)

    def model_copy(self) -> nn.Module:
        """A model that a row may change."""
        return self.model if self.is_for_one_row else copy.deepcopy(self.model)


def subject_folder(settings: SubjectSettings, work: Path, device: str = "cpu") -> Path:
    """The subject's folder in another, filled if it is not there yet.

    Args:
        settings: What it is.
        work: Where subjects are kept.
        device: Where the model is trained.
    """
    folder = work / settings.folder_name
    if not folder.exists():
        with whole_folder(folder) as unfinished:
            _make(settings, unfinished, device)
    return folder


def load_subject(folder: Path, num_sequences: int, device: str = "cpu") -> Subject:
    """A subject that was made before, its model in evaluation mode.

    Args:
        folder: As `subject_folder` gives it.
        num_sequences: How many of its sequences are looked at.
        device: Where model and sequences go.
    """
    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder / "model")
    held_out_nt = torch.from_numpy(np.load(folder / "held_out.npy")).to(device)
    most = len(held_out_nt) - FITTED
    if not 0 < num_sequences <= most:
        raise ValueError(f"num_sequences must be from 1 to {most} here, but is {num_sequences}.")
    batch_size = json.loads((folder / "settings.json").read_text())["batch_size"]
    batches, fitted_to, leading = (
        tuple(
            {"input_ids": ids_bt, "labels": ids_bt}
            for ids_bt in torch.split(ids_nt, batch_size)
            if len(ids_bt) > 0
        )
        for ids_nt in (
            held_out_nt[:num_sequences],
            held_out_nt[most:],
            held_out_nt[num_sequences:most][:LEADING],
        )
    )
    return Subject(folder, model.to(device).eval(), batches, fitted_to, leading)


def _make(settings: SubjectSettings, folder: Path, device: str) -> None:
    shape = SHAPES[settings.size]
    texts = (
        text
        for part in settings.parts
        for text in _limited(part_texts(part, "train"), TOKENIZER_CHARACTERS)
    )
    tokenizer = train_tokenizer(texts, shape.vocab_size)
    needed = settings.training_steps * settings.batch_size // len(settings.parts) + 1
    train_nt = np.concatenate(
        [
            _sequences(tokenizer, part, "train", needed, settings.num_tokens)
            for part in settings.parts
        ]
    )
    held_out_nt = _held_out(tokenizer, settings)
    model = trained_model(shape, torch.from_numpy(train_nt), settings, device)
    model.save_pretrained(folder / "model")  # type: ignore[operator]
    np.save(folder / "held_out.npy", held_out_nt)
    (folder / "settings.json").write_text(json.dumps(asdict(settings), indent=1))


def trained_model(
    shape: Shape, train_nt: Tensor, settings: SubjectSettings, device: str
) -> nn.Module:
    """A seeded Llama after a few steps of AdamW: gradients of an untrained one are all alike."""
    config = AutoConfig.for_model(
        "llama",
        **asdict(shape),
        num_attention_heads=8,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        max_position_embeddings=settings.num_tokens,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for step in range(settings.training_steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / _WARMUP_STEPS)
        drawn_b = torch.randint(len(train_nt), (settings.batch_size,), generator=generator)
        ids_bt = train_nt[drawn_b].to(device)
        sample_losses(model, {"input_ids": ids_bt, "labels": ids_bt}).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return model


def part_texts(part: str, split: str) -> Iterator[str]:
    """The texts of one part of the built-in corpus."""
    return (text for _, text in corpus_texts(f"python:{part}:{split}"))


def _limited(texts: Iterator[str], max_characters: int) -> Iterator[str]:
    taken = 0
    for text in texts:
        if taken >= max_characters:
            return
        yield text[: max_characters - taken]
        taken += len(text)


def _sequences(
    tokenizer: PreTrainedTokenizerFast, part: str, split: str, count: int, num_tokens: int
) -> np.ndarray:
    """A part's texts end to end, cut into sequences; fewer than asked for if the part is short."""
    ids: list[int] = []
    for text in part_texts(part, split):
        ids += [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        if len(ids) >= count * num_tokens:
            break
    count = min(count, len(ids) // num_tokens)
    return np.array(ids[: count * num_tokens], dtype=np.int64).reshape(count, num_tokens)


def _held_out(tokenizer: PreTrainedTokenizerFast, settings: SubjectSettings) -> np.ndarray:
    """Held-out sequences, the parts taking turns, so that every batch is mixed."""
    each = HELD_OUT // len(settings.parts)
    by_part = [
        _sequences(tokenizer, part, "validation", each, settings.num_tokens)
        for part in settings.parts
    ]
    return np.stack([rows[i] for i in range(each) for rows in by_part if i < len(rows)])
