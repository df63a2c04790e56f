"""What breaks when weights change inside a Trainer: each trap has a law that would catch it."""

import os
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_trainer import (
    LATER,
    SIZES,
    START,
    arguments,
    concatenated,
    pad,
    tiny_model,
    tiny_trainer,
    trained,
)
from torch.utils.data import Subset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState

from dids.errors import InputError
from dids.training import DomainMixture

CODE = range(SIZES["web"], SIZES["web"] + SIZES["code"])
ONLY_CODE = {"web": 0.0, "code": 1.0, "junk": 0.0}


class ByHand(TrainerCallback):
    """Sets a mixture at the end of a step, as a user would."""

    def __init__(self, mixture, step):
        self.mixture, self.step, self.start_step = mixture, step, None

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.start_step = self.mixture.set_mixture(ONLY_CODE)


@pytest.mark.parametrize(("num_workers", "lag"), [(0, 1), (2, 3)])
def test_a_mixture_set_by_hand_holds_from_the_step_that_was_promised(tmp_path, num_workers, lag):
    # A sampler that draws everything up front never changes; a copy in a worker neither.
    mixture = DomainMixture(START, SIZES)
    hand = ByHand(mixture, 3)
    settings = {"save_strategy": "no", "dataloader_num_workers": num_workers}
    changed = trained(tmp_path / "a", mixture, callbacks=[hand], **settings)
    fixed = trained(tmp_path / "b", DomainMixture(START, SIZES), **settings)
    assert hand.start_step == 3 + lag
    for step, ids in changed.seen.items():
        if step < hand.start_step:
            assert ids == fixed.seen[step]
        else:
            assert set(ids) <= set(CODE)


def test_inside_a_step_a_mixture_starts_one_step_later(tmp_path):
    mixture, args = DomainMixture(START, SIZES), arguments(tmp_path)
    loader = mixture.loader(args, concatenated(), pad)
    mixture.on_step_begin(args, TrainerState(), TrainerControl())
    batches = iter(loader)
    for _ in range(3):  # the step's two and the one that Accelerate reads ahead
        next(batches)
    assert mixture.set_mixture(LATER) == 2


def test_a_replayed_past_takes_nothing_from_the_future(tmp_path):
    # A replay that draws the past anew, with later weights, ends elsewhere in every domain.
    def mixture():
        return DomainMixture(START, SIZES, schedule={2: LATER, 4: ONLY_CODE, 6: START})

    whole = trained(tmp_path / "a", mixture(), save_steps=5)
    resumed = trained(tmp_path / "b", mixture(), resume=tmp_path / "a" / "checkpoint-5")
    assert resumed.mixture.usage() == whole.mixture.usage()
    assert resumed.seen == {step: ids for step, ids in whole.seen.items() if step >= 5}


def test_a_callback_that_a_trainer_restores_is_still_ours(tmp_path):
    whole = trained(tmp_path / "a", save_steps=4)
    resumed = tiny_trainer(tmp_path / "b", restore_callback_states_from_checkpoint=True)
    ours = resumed.mixture
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-4"))
    assert any(callback is ours for callback in resumed.callback_handler.callbacks)
    assert resumed.seen == {step: ids for step, ids in whole.seen.items() if step >= 4}


def test_a_checkpoint_without_our_state_is_refused_before_any_step(tmp_path):
    plain = Trainer(
        tiny_model(), arguments(tmp_path / "a", max_steps=2), pad, concatenated()
    )  # fmt: skip
    plain.train()
    resumed = tiny_trainer(tmp_path / "b")
    with pytest.raises(InputError, match=r"checkpoint-2: it has no dids_state\.json"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    assert resumed.seen == {}


def test_a_policy_is_asked_once_however_many_evaluation_sets_there_are(tmp_path):
    views = []
    mixture = DomainMixture(START, SIZES, policy=views.append, every_steps=2)
    trainer = tiny_trainer(
        tmp_path, mixture, max_steps=6, eval_strategy="steps", eval_steps=2, save_strategy="no",
        eval_dataset={name: concatenated().select(range(4)) for name in ("sums", "colours")},
    )  # fmt: skip
    trainer.train()
    assert [view.step for view in views] == [2, 4, 6]
    assert views[0].metrics == {}
    for view in views[1:]:
        assert {"eval_sums_loss", "eval_colours_loss"} <= set(view.metrics)
    assert set(views[0].losses) == set(SIZES)
    assert views[2].usage["web"].samples == 6 * 4


def test_domain_losses_are_those_of_the_forward_pass_that_trains(tmp_path):
    passes, expected = [], {}
    trainer = tiny_trainer(tmp_path, logging_steps=10, dropout=0.0, learning_rate=0.0)

    def look(model, args, kwargs, output):
        passes.append(len(kwargs["input_ids"]))
        target = kwargs["labels"][:, 1:]
        loss_bt = torch.nn.functional.cross_entropy(
            output.logits[:, :-1].transpose(1, 2), target, reduction="none"
        )
        for row, first in enumerate(kwargs["input_ids"][:, 0].tolist()):
            name = "web" if first < 40 else "code" if first < 49 else "junk"
            expected.setdefault(name, []).extend(loss_bt[row][target[row] >= 0].tolist())

    trainer.model.register_forward_hook(look, with_kwargs=True)
    trainer.train()
    assert passes == [4] * 20  # ten steps of two micro-batches, and not one more
    logged = trainer.state.log_history[0]
    for name, losses in expected.items():
        assert logged[f"domain_loss/{name}"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert logged["mixture/code"] == LATER["code"]
    assert logged["epochs/web"] == trainer.mixture.usage()["web"].epochs
    plain = tiny_trainer(tmp_path / "plain", logging_steps=10, dropout=0.0, learning_rate=0.0)
    plain.log_domains = False
    plain.train()
    assert plain.step_losses == trainer.step_losses
    assert not any("domain_loss" in name for name in plain.state.log_history[0])


def tasks_of(trainer):
    return {
        (name.removeprefix("task_loss/"), entry["step"]): value
        for entry in trainer.state.log_history
        for name, value in entry.items()
        if name.startswith("task_loss/")
    }


@pytest.mark.parametrize("log_domains", [True, False])
def test_task_losses_are_those_of_the_validation_passes_that_the_trainer_makes(
    tmp_path, log_domains
):
    passes, sets = [], {"sums": concatenated().select(range(5)), "colours": concatenated()}
    trainer = tiny_trainer(
        tmp_path, max_steps=4, eval_strategy="steps", eval_steps=2, per_device_eval_batch_size=4,
        eval_dataset=sets, learning_rate=0.0, dropout=0.0,
    )  # fmt: skip
    trainer.log_domains = log_domains
    trainer.model.register_forward_hook(lambda *_: passes.append(1))
    trainer.train()
    assert len(passes) == 4 * 2 + 2 * (2 + 18)  # batches of training and of the two sets
    expected = {}
    for name, rows in sets.items():
        losses = []
        for row in rows["input_ids"]:
            ids = torch.tensor([row])
            with torch.no_grad():
                logits = trainer.model(input_ids=ids).logits[0, :-1]
            losses += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        expected |= {(name, step): (sum(losses) / len(losses)).item() for step in (2, 4)}
    assert tasks_of(trainer) == (pytest.approx(expected, rel=1e-5) if log_domains else {})


def test_a_task_may_be_called_as_it_likes_and_one_set_is_none(tmp_path):
    trainer = tiny_trainer(
        tmp_path, max_steps=2, eval_strategy="steps", eval_steps=2,
        eval_dataset={"a_loss": concatenated().select(range(3))},
    )  # fmt: skip
    trainer.train()
    assert list(tasks_of(trainer)) == [("a_loss", 2)]
    alone = tiny_trainer(
        tmp_path, max_steps=2, eval_strategy="steps", eval_steps=2, eval_dataset=concatenated()
    )
    alone.train()
    assert tasks_of(alone) == {}


def test_a_trainer_of_ones_own_needs_the_callback_alone(tmp_path):
    class Own(Trainer):
        def get_train_dataloader(self):
            return self.accelerator.prepare(
                mixture.loader(self.args, self.train_dataset, self.data_collator)
            )

    expected = trained(tmp_path / "a", save_steps=3)
    for skips in (False, True):
        seen = []
        mixture = DomainMixture(START, SIZES, schedule={5: LATER})
        trainer = Own(
            tiny_model(), arguments(tmp_path / "a", ignore_data_skip=skips, save_strategy="no"),
            pad, concatenated().remove_columns("note"), callbacks=[mixture],
        )  # fmt: skip
        trainer.model.register_forward_hook(
            lambda model, args, kwargs, output, seen=seen: seen.extend(
                kwargs["input_ids"][:, 0].tolist()
            ),
            with_kwargs=True,
        )
        trainer.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-3"))
        assert seen == [i for step in range(3, 10) for i in expected.seen[step]]


def test_a_run_ends_where_a_domain_ends_it(tmp_path):
    mixture = DomainMixture(START, SIZES, max_repeats={"code": 1}, at_end={"code": "stop"})
    trainer = trained(tmp_path, mixture, max_steps=50, save_strategy="no")
    # 18 samples at two a step.
    assert trainer.state.global_step == 9
    assert mixture.usage()["code"].samples_left == 0
    assert mixture.forecast(8, 50)["code"].cap_reached_at_step == 9
    later = {2: {"web": 0.75, "code": 0.0, "junk": 0.25}, 4: START}
    scheduled = DomainMixture(START, SIZES, schedule=later, max_repeats={"code": 1})
    assert scheduled.forecast(8, 50)["code"].cap_reached_at_step == 11


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixture": {"web": 1.0}}, "'code' has no weight"),
        ({"mixture": {"web": 0.5, "code": 0.5, "junk": 0.5}}, "must sum to 1, but they sum to 1.5"),
        ({"schedule": {4: {"webb": 1.0}}}, "no domain 'webb'; the domains are web, code, junk"),
        ({"max_repeats": {"docs": 1}}, "max_repeats: there is no domain 'docs'"),
    ],
)
def test_mistakes_in_a_mixture_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        DomainMixture(**{"mixture": START, "sizes": SIZES, **settings})


def test_mistakes_in_a_run_are_named(tmp_path):
    with pytest.raises(InputError, match="69 samples, but the domains have 70"):
        tiny_trainer(tmp_path, DomainMixture(START, {**SIZES, "junk": 21})).train()
    with pytest.raises(InputError, match="max_steps is not given"):
        tiny_trainer(tmp_path, max_steps=-1).train()
    trainer = tiny_trainer(tmp_path, DomainMixture(START, SIZES, unit="tokens"))
    trainer.train_dataset = trainer.train_dataset.rename_column("input_ids", "labels")
    with pytest.raises(
        InputError, match="unit is 'tokens', but the training set's samples have no"
    ):
        trainer.train()
    mixture = DomainMixture(START, SIZES, lag=1)
    with pytest.raises(InputError, match="can start 3 steps after a decision"):
        tiny_trainer(tmp_path, mixture, dataloader_num_workers=2).train()


def test_a_clock_that_was_set_back_takes_no_checkpoint_for_the_oldest(tmp_path):
    class SetBack(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            later = time.time() + 3600 * state.global_step
            for checkpoint in Path(args.output_dir).glob("checkpoint-*"):
                os.utime(checkpoint, (later, later))

    trained(
        tmp_path,
        DomainMixture(START, SIZES),
        max_steps=5,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=2,
        callbacks=[SetBack()],
    )
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-5"}


def test_a_mixture_of_another_trainer_is_refused_where_its_steps_are_of_another_size(tmp_path):
    mixture = DomainMixture(START, SIZES)
    trained(tmp_path / "one", mixture, max_steps=2)
    with pytest.raises(InputError, match="draws steps of 8 samples for another Trainer"):
        trained(tmp_path / "other", mixture, max_steps=2, per_device_train_batch_size=8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "in the order of seed 3 for another Trainer, and this one's are of 4"),
        ({"longer": True}, "samples of other lengths for another Trainer"),
    ],
)
def test_a_mixture_is_one_trainers(tmp_path, changes, message):
    mixture = DomainMixture(START, SIZES)
    trained(tmp_path / "one", mixture, max_steps=2)
    is_longer = changes.pop("longer", False)
    other = tiny_trainer(tmp_path / "other", mixture, max_steps=2, **changes)
    if is_longer:
        rows = [[*row, 1] for row in other.train_dataset["input_ids"]]
        other.train_dataset = datasets.Dataset.from_dict({"input_ids": rows})
    with pytest.raises(InputError, match=message):
        other.train()


def test_a_data_seed_of_zero_is_one(tmp_path):
    drawn = []
    for settings in ({"seed": 3, "data_seed": 0}, {"seed": 0}, {"seed": 3}):
        trainer = trained(tmp_path, DomainMixture(START, SIZES), max_steps=2, **settings)
        drawn.append(trainer.seen)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_process_with_several_devices_draws_for_all_of_them(tmp_path):
    trainer = tiny_trainer(tmp_path, max_steps=2, save_strategy="no")
    trainer.args._n_gpu = 2
    trainer.train()
    assert {step: len(samples) for step, samples in trainer.seen.items()} == {0: 16, 1: 16}


def test_a_batch_size_that_is_found_by_itself_is_refused(tmp_path):
    with pytest.raises(InputError, match="auto_find_batch_size would change the size of steps"):
        tiny_trainer(tmp_path, auto_find_batch_size=True)


def test_batches_that_are_divided_over_processes_are_refused(tmp_path, monkeypatch):
    trainer = tiny_trainer(tmp_path, accelerator_config={"split_batches": True})
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    with pytest.raises(InputError, match="split_batches would divide batches over processes"):
        trainer.get_train_dataloader()


def test_a_look_at_a_batch_is_no_training(tmp_path):
    plain = trained(tmp_path / "a", DomainMixture(START, SIZES, schedule={1: LATER}), max_steps=3)
    looked = tiny_trainer(
        tmp_path / "b", DomainMixture(START, SIZES, schedule={1: LATER}), max_steps=3
    )
    next(iter(looked.get_train_dataloader()))
    looked.train()
    assert looked.seen == plain.seen


def test_a_checkpoint_named_by_a_path_brings_its_own_mixture(tmp_path):
    trained(tmp_path / "a", DomainMixture(ONLY_CODE, SIZES), max_steps=2, save_steps=2)
    for name in ("b", "c"):
        trained(tmp_path / name, DomainMixture(START, SIZES), max_steps=2, save_steps=2)
    seen = []
    for name, kind in (("b", str), ("c", Path)):
        trainer = tiny_trainer(tmp_path / name, DomainMixture(START, SIZES), max_steps=4)
        trainer.train(resume_from_checkpoint=kind(tmp_path / "a" / "checkpoint-2"))
        seen.append(trainer.seen)
    assert seen[0] == seen[1]
    assert all(sample in CODE for sample in seen[0][2])


def test_a_subset_that_reorders_has_its_own_lengths(tmp_path):
    drawn = []
    for logs in (True, False):
        mixture = DomainMixture(START, SIZES, unit="tokens")
        trainer = tiny_trainer(tmp_path, mixture, max_steps=3, save_strategy="no")
        trainer.log_domains = logs
        trainer.train_dataset = Subset(trainer.train_dataset, list(range(69))[::-1])
        trainer.train()
        drawn.append(trainer.seen)
    assert drawn[0] == drawn[1]


def test_sizes_and_lengths_of_another_data_set_are_refused(tmp_path):
    trainer = tiny_trainer(tmp_path, DomainMixture(START, {**SIZES, "junk": 11}))
    trainer.log_domains = False
    with pytest.raises(InputError, match="has 69 samples, but the domains have 60"):
        trainer.train()
    mixture = DomainMixture(START, SIZES, unit="tokens", lengths=np.ones(80, dtype=int))
    with pytest.raises(InputError, match="lengths has 80 numbers, but the training set has 69"):
        tiny_trainer(tmp_path, mixture).train()


def test_a_policy_sees_losses_that_are_not_logged(tmp_path):
    views = []

    def policy(view):
        views.append(view.losses)
        return START

    trainer = tiny_trainer(
        tmp_path, DomainMixture(START, SIZES, policy=policy, every_steps=2), max_steps=4,
        save_strategy="no",
    )  # fmt: skip
    trainer.log_domains = False
    trainer.train()
    assert views
    assert views[-1]["web"] > 0


def test_a_checkpoint_may_be_resumed_twice_in_one_process(tmp_path):
    trained(tmp_path, DomainMixture(START, SIZES, schedule={3: LATER}), max_steps=6, save_steps=2)
    trainer = tiny_trainer(tmp_path, DomainMixture(START, SIZES, schedule={3: LATER}), max_steps=6)
    seen = []
    for _ in range(2):
        trainer.seen = {}
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
        seen.append(trainer.seen)
    assert sorted(seen[0]) == [2, 3, 4, 5]
    assert seen[0] == seen[1]
