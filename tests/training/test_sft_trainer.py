"""TRL's SFTTrainer with the mixin: text goes in, weights change, it resumes, nothing runs twice."""

import datasets
import pytest
import torch
from resuming import assert_resumes
from tiny_trainer import LATER, SIZES, START, Recording, tiny_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast, PrinterCallback

from dids.errors import InputError
from dids.training import DidsMixin, DomainMixture

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore")


class TinySft(Recording, DidsMixin, trl.SFTTrainer):
    pass


def tokenizer():
    words = [*(f"w{i}" for i in range(120)), "<eos>", "<pad>"]
    model = WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>")
    made = Tokenizer(model)
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", pad_token="<pad>")


def texts():
    parts, first = [], 0
    for size in SIZES.values():
        rows = [
            " ".join(f"w{word}" for word in [i, *range(2 + i % 6)])
            for i in range(first, first + size)
        ]
        parts.append(datasets.Dataset.from_dict({"text": rows}))
        first += size
    return datasets.concatenate_datasets(parts)


def sft(folder, eval_dataset=None, **changes):
    settings = {
        "output_dir": str(folder), "max_steps": 6, "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2, "save_steps": 3, "logging_steps": 3,
        "learning_rate": 0.01, "disable_tqdm": True, "report_to": "none", "use_cpu": True,
        "seed": 3, "bf16": False, "gradient_checkpointing": False,
    }  # fmt: skip
    trainer = TinySft(
        model=tiny_model(),
        args=trl.SFTConfig(**{**settings, **changes}),
        train_dataset=texts(),
        eval_dataset=eval_dataset,
        processing_class=tokenizer(),
        mixture=DomainMixture(START, SIZES, schedule={4: LATER}, unit="tokens"),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def test_sft_trainer_follows_a_mixture_and_logs_every_domain(tmp_path):
    whole, passes = sft(tmp_path / "a"), []
    whole.model.register_forward_hook(lambda *_: passes.append(1))
    whole.train()
    assert len(passes) == 12
    # A torch data set in its place is refused by TRL before any of its preparation.
    assert isinstance(whole.train_dataset, datasets.Dataset)
    logged = whole.state.log_history[0]
    for name in SIZES:
        assert 3 < logged[f"domain_loss/{name}"] < 7
    assert "mean_token_accuracy" in logged


def test_sft_trainer_logs_every_task(tmp_path):
    sets = {"sums": texts().select(range(5)), "colours": texts().select(range(40, 49))}
    # In one batch each, the Trainer's own mean over batches is that over tokens.
    trainer = sft(
        tmp_path, sets, max_steps=2, eval_strategy="steps", eval_steps=2, save_strategy="no",
        per_device_eval_batch_size=16,
    )  # fmt: skip
    trainer.train()
    for name in sets:
        (entry,) = [log for log in trainer.state.log_history if f"eval_{name}_loss" in log]
        assert entry[f"task_loss/{name}"] == pytest.approx(entry[f"eval_{name}_loss"], rel=1e-4)


@pytest.mark.parametrize("skips", [False, True])
def test_sft_trainer_resumes(tmp_path, skips):
    def a_run(stop=None, resume=None, **changes):
        trainer = sft(tmp_path, **changes)
        checkpoint = None if resume is None else str(tmp_path / f"checkpoint-{resume}")
        trainer.train(resume_from_checkpoint=checkpoint)
        return {"samples": trainer.seen, "losses": trainer.step_losses}

    assert_resumes(a_run, 3, ignore_data_skip=skips)


def test_padding_free_batches_know_the_domain_of_every_token(tmp_path):
    trainer = sft(tmp_path, padding_free=True, max_length=None, max_steps=1, logging_steps=1)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["domain"].shape == batch["input_ids"].shape
    starts = (batch["position_ids"][0] == 0).nonzero().flatten()
    for first, domain in zip(
        batch["input_ids"][0][starts].tolist(), batch["domain"][0][starts].tolist(), strict=True
    ):
        assert domain == (first >= 40) + (first >= 49)
    assert torch.is_tensor(batch["domain"])


@pytest.mark.parametrize("setting", ["packing", "shuffle_dataset"])
def test_what_would_join_domains_is_refused(tmp_path, setting):
    with pytest.raises(InputError, match=f"{setting} would join or move samples"):
        sft(tmp_path, **{setting: True})
