"""A Trainer of milliseconds: three domains whose samples are told apart by their first token."""

import warnings
from pathlib import Path

import datasets
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from dids.training import DidsMixin, DomainMixture

SIZES = {"web": 40, "code": 9, "junk": 20}
START = {"web": 0.5, "code": 0.25, "junk": 0.25}
LATER = {"web": 0.1, "code": 0.9, "junk": 0.0}


def tiny_model(dropout=0.1):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=128, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, attention_dropout=dropout, tie_word_embeddings=True,
        pad_token_id=127, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def concatenated(sizes=None):
    """Sample i begins with token i and is 3 to 8 tokens long."""
    parts, first = [], 0
    for size in (sizes or SIZES).values():
        rows = [[i, *range(2 + i % 6)] for i in range(first, first + size)]
        parts.append(datasets.Dataset.from_dict({"input_ids": rows, "note": ["x"] * size}))
        first += size
    return datasets.concatenate_datasets(parts)


def pad(items):
    width = max(len(item["input_ids"]) for item in items)
    ids = [item["input_ids"] + [127] * (width - len(item["input_ids"])) for item in items]
    ids = torch.tensor(ids)
    return {
        "input_ids": ids,
        "labels": torch.where(ids == 127, -100, ids),
        "attention_mask": (ids != 127).long(),
    }


class Recording:
    """Keeps, micro-batch by micro-batch, the samples and the loss of every step trained on."""

    def __init__(self, *args, **kwargs):
        self.seen: dict[int, list[int]] = {}
        self.step_losses: dict[int, float] = {}
        super().__init__(*args, **kwargs)

    def training_step(self, model, inputs, *args, **kwargs):
        step = self.state.global_step
        self.seen.setdefault(step, []).extend(inputs["input_ids"][:, 0].tolist())
        loss = super().training_step(model, inputs, *args, **kwargs)
        self.step_losses[step] = self.step_losses.get(step, 0.0) + loss.item()
        return loss


class TinyTrainer(Recording, DidsMixin, Trainer):
    pass


def arguments(folder: Path, **changes):
    settings = {
        "output_dir": str(folder),
        "max_steps": 10,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "save_steps": 1,
        "logging_steps": 2,
        "learning_rate": 0.01,
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": True,
        "seed": 3,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TrainingArguments(**{**settings, **changes})


def tiny_trainer(folder: Path, mixture=None, *, sizes=None, trainer=TinyTrainer, **changes):
    dropout = changes.pop("dropout", 0.1)
    parts = {name: changes.pop(name, None) for name in ("callbacks", "eval_dataset")}
    mixture = mixture or DomainMixture(START, sizes or SIZES, schedule={5: LATER})
    made = trainer(
        model=tiny_model(dropout),
        args=arguments(folder, **changes),
        train_dataset=concatenated(sizes),
        data_collator=pad,
        mixture=mixture,
        **parts,
    )
    made.remove_callback(PrinterCallback)
    return made


def trained(folder: Path, mixture=None, *, resume=None, **changes):
    trainer = tiny_trainer(folder, mixture, **changes)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer
