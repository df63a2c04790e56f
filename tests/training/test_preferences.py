"""TRL's trainers of preferences: two rows a sample, no labels, and a mixture all the same."""

import datasets
import pytest
from resuming import assert_resumes
from test_sft_trainer import tokenizer, trl
from tiny_trainer import tiny_model
from transformers import AutoConfig, AutoModelForSequenceClassification, PrinterCallback

from dids.errors import InputError
from dids.training import DidsMixin, DomainMixture, PolicyMixture

pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {"kind": 30, "curt": 10}
SETTINGS = {
    "max_steps": 6, "per_device_train_batch_size": 4, "save_steps": 1, "logging_steps": 1,
    "report_to": "none", "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
    "disable_tqdm": True, "learning_rate": 0.01,
}  # fmt: skip


class Recording:
    """Keeps the samples, by the first token of what was chosen, and the loss of every step."""

    def training_step(self, model, inputs, *args, **kwargs):
        # What was chosen comes first, then what was rejected.
        rows = inputs["input_ids"][: len(inputs["input_ids"]) // 2]
        step = self.state.global_step
        self.seen = {**getattr(self, "seen", {}), step: rows[:, 0].tolist()}
        loss = super().training_step(model, inputs, *args, **kwargs)
        self.step_losses = {**getattr(self, "step_losses", {}), step: loss.item()}
        return loss


class TinyDpo(Recording, DidsMixin, trl.DPOTrainer):
    pass


class TinyReward(Recording, DidsMixin, trl.RewardTrainer):
    pass


def pairs():
    """Sample i begins with word i."""
    rows = [
        {"prompt": f"w{i} w1", "chosen": f"w{2 + i % 5} w3", "rejected": "w7 w8 w9"}
        for i in range(sum(SIZES.values()))
    ]
    return datasets.Dataset.from_list(rows)


def dpo(folder, mixture=None, **changes):
    trainer = TinyDpo(
        model=tiny_model(0.0),
        ref_model=tiny_model(0.0),
        args=trl.DPOConfig(str(folder), **{**SETTINGS, **changes}),
        train_dataset=pairs(),
        eval_dataset={"held": pairs().select(range(4))},
        processing_class=tokenizer(),
        mixture=mixture or DomainMixture({"kind": 0.5, "curt": 0.5}, SIZES, schedule={3: LATER}),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


LATER = {"kind": 1.0, "curt": 0.0}


def curt(samples):
    return sum(word >= SIZES["kind"] for word in samples)


def reward(folder, **changes):
    model = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(**tiny_model().config.to_dict() | {"num_labels": 1})
    )
    trainer = TinyReward(
        model=model,
        args=trl.RewardConfig(str(folder), **{**SETTINGS, **changes}),
        train_dataset=pairs(),
        eval_dataset={"held": pairs().select(range(4))},
        processing_class=tokenizer(),
        mixture=DomainMixture({"kind": 0.5, "curt": 0.5}, SIZES, schedule={3: LATER}),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@pytest.mark.parametrize("make", [dpo, reward])
def test_pairs_follow_the_mixture_and_its_schedule(tmp_path, make):
    trainer = make(tmp_path, eval_strategy="steps", eval_steps=3)
    trainer.train()
    words = tokenizer().get_vocab()
    first = words["w0"]
    seen = {step: [word - first for word in ids] for step, ids in trainer.seen.items()}
    assert [curt(seen[step]) for step in range(6)] == [2, 2, 2, 0, 0, 0]
    logged = next(log for log in trainer.state.log_history if "mixture/curt" in log)
    assert not any(name.startswith("domain_loss") for name in logged)
    assert any("eval_held_loss" in log for log in trainer.state.log_history)


def test_preferences_resume_with_the_same_pairs(tmp_path):
    def once(stop=None, resume=None):
        trainer = dpo(tmp_path / ("whole" if resume is None else "resumed"))
        checkpoint = None if resume is None else str(tmp_path / "whole" / f"checkpoint-{resume}")
        trainer.train(resume_from_checkpoint=checkpoint)
        return {"samples": trainer.seen, "losses": trainer.step_losses}

    assert_resumes(once, 2)


def test_impact_on_what_has_no_labels_is_refused(tmp_path):
    trainer = dpo(tmp_path, PolicyMixture(SIZES))
    with pytest.raises(InputError, match="the training set: its batches have no labels"):
        trainer.train()


def test_batches_that_must_repeat_prompts_are_refused(tmp_path):
    class TinyGrpo(DidsMixin, trl.GRPOTrainer):
        pass

    with pytest.raises(InputError, match=r"num_generations \(4\) asks for batches that have each"):
        TinyGrpo(
            model=tiny_model(0.0),
            args=trl.GRPOConfig(
                str(tmp_path), num_generations=4, report_to="none", use_cpu=True, bf16=False
            ),
            reward_funcs=lambda **_: [0.0],
            train_dataset=pairs(),
            processing_class=tokenizer(),
            mixture=DomainMixture({"kind": 0.5, "curt": 0.5}, SIZES),
        )
