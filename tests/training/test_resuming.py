"""Stop at any step, resume: the same samples, the same losses, the same log, to the last bit."""

import json
import tempfile
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from ranks import on_ranks
from resuming import assert_resumes
from tiny_trainer import LATER, START, concatenated, trained
from transformers import TrainerCallback

from dids.training import DomainMixture

STEPS = 8


class SaveAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save |= state.global_step == self.step


class DriftingPolicy:
    """Follows what it sees, and remembers: a resumed run must show and give it the same."""

    def __init__(self):
        self.average = 0.5

    def __call__(self, view):
        losses = [loss for loss in view.losses.values() if loss is not None]
        self.average = 0.5 * self.average + 0.5 * (sum(losses) / len(losses) % 1.0)
        web = 0.1 + 0.8 * self.average
        return {"web": web, "code": 1.0 - web, "junk": 0.0}

    def state_dict(self):
        return {"average": self.average}

    def load_state_dict(self, state):
        self.average = state["average"]


def run(folder, case, *, stop=None, resume=None, **changes):
    mixture = DomainMixture(
        START,
        case["sizes"],
        schedule={case["change"]: LATER},
        policy=DriftingPolicy() if case["has_policy"] else None,
        every_steps=3,
        unit=case["unit"],
        max_repeats={"junk": 0},
        lag=5,  # what two workers need: runs with and without them then have the same samples
    )
    settings = {
        "per_device_train_batch_size": 8 // case["accumulation"],
        "gradient_accumulation_steps": case["accumulation"],
        "seed": case["seed"],
        "max_steps": STEPS,
        "save_strategy": "no",
        "callbacks": [] if stop is None else [SaveAt(stop)],
    }
    settings |= changes
    callbacks = settings.pop("callbacks")
    return trained(
        folder, mixture, resume=resume, sizes=case["sizes"], callbacks=callbacks, **settings
    )


def log_of(trainer, after):
    """Without the Trainer's own loss, whose average begins anew with every call of ``train``."""
    return [
        {name: value for name, value in entry.items() if name != "loss"}
        for entry in trainer.state.log_history
        if entry["step"] > after and "train_runtime" not in entry
    ]


@st.composite
def cases(draw):
    return {
        "sizes": {name: draw(st.integers(3, 40)) for name in START},
        "seed": draw(st.integers(0, 2**31)),
        "accumulation": draw(st.sampled_from([1, 2, 4])),
        "change": draw(st.integers(1, STEPS)),
        "has_policy": draw(st.booleans()),
        "unit": draw(st.sampled_from(["samples", "tokens"])),
        "stop": draw(st.integers(1, STEPS - 1)),
    }


@settings(max_examples=8, phases=[Phase.explicit, Phase.generate])
@given(cases(), st.booleans(), st.sampled_from([0, 2]))
def test_a_resumed_run_is_the_run_that_was_not_stopped(case, replays, num_workers):
    with tempfile.TemporaryDirectory() as name:

        def a_run(stop=None, resume=None, **changes):
            checkpoint = None if resume is None else Path(name) / f"whole/checkpoint-{resume}"
            folder = Path(name) / ("whole" if resume is None else "resumed")
            trainer = run(folder, case, stop=stop, resume=checkpoint, **changes)
            return {
                "samples": trainer.seen,
                "losses": trainer.step_losses,
                "log": {entry["step"] - 1: entry for entry in log_of(trainer, resume or 0)},
            }

        assert_resumes(
            a_run,
            case["stop"],
            ignore_data_skip=not replays,
            dataloader_num_workers=num_workers,
        )


CASE = {
    "sizes": {"web": 40, "code": 9, "junk": 20},
    "seed": 5,
    "accumulation": 4,
    "change": 6,
    "has_policy": False,
    "unit": "samples",
}


def as_sets(seen):
    """Samples by step: how they are dealt to ranks and micro-batches does not count."""
    return {int(step): sorted(ids) for step, ids in seen.items()}


@pytest.mark.parametrize("ignore_data_skip", [False, True])
def test_accumulation_may_change_at_equal_global_batch(tmp_path, ignore_data_skip):
    whole = run(tmp_path / "whole", CASE, stop=3, dropout=0.0)
    resumed = run(
        tmp_path / "resumed",
        {**CASE, "accumulation": 1},
        resume=tmp_path / "whole" / "checkpoint-3",
        ignore_data_skip=ignore_data_skip,
        dropout=0.0,
    )
    assert as_sets(resumed.seen) == {s: ids for s, ids in as_sets(whole.seen).items() if s >= 3}
    for step, loss in resumed.step_losses.items():
        assert loss == pytest.approx(whole.step_losses[step], rel=1e-5)


def rank_run(folder, options, changes):
    trainer = run(Path(folder), CASE | options, **changes)
    return {
        "seen": trainer.seen,
        "losses": trainer.step_losses,
        "log": log_of(trainer, 0),
    }


def joined(results):
    steps = results[0]["seen"]
    return as_sets({step: chain(*(result["seen"][step] for result in results)) for step in steps})


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_draw_what_one_process_draws_and_log_what_it_logs(tmp_path, world_size):
    options = {"has_policy": True}
    single = run(tmp_path / "single", CASE | options, stop=4, dropout=0.0)
    per_rank = {
        "dropout": 0.0,
        "ddp_backend": "gloo",
        "gradient_accumulation_steps": 4 // world_size,
        "per_device_train_batch_size": 2,
    }
    many = on_ranks(
        tmp_path / "ranks", world_size, rank_run, str(tmp_path / "many"), options, per_rank
    )
    assert joined(many) == as_sets(single.seen)
    # Regression guard: sums over ranks, not one rank's, and every rank's log has them.
    for one, other in zip(many[0]["log"], log_of(single, 0), strict=True):
        losses = [name for name in other if name.startswith("domain_loss/")]
        assert losses
        for name in losses:
            assert one[name] == pytest.approx(other[name], rel=1e-4)
    # And a run that was stopped on one rank goes on on several, without replay.
    resumed = on_ranks(
        tmp_path / "again", world_size, rank_run, str(tmp_path / "resumed"), options,
        {**per_rank, "ignore_data_skip": True, "resume": str(tmp_path / "single/checkpoint-4")},
    )  # fmt: skip
    assert joined(resumed) == {s: ids for s, ids in as_sets(single.seen).items() if s >= 4}
    for step, loss in single.step_losses.items():
        if step >= 4:
            mean = sum(r["losses"][str(step)] for r in resumed) / world_size
            assert mean == pytest.approx(loss, rel=1e-4)


def rank_tasks(folder, world_size):
    sets = {"sums": concatenated().select(range(5)), "colours": concatenated().select(range(9, 18))}
    trainer = run(
        Path(folder), CASE, dropout=0.0, per_device_train_batch_size=2, eval_dataset=sets,
        gradient_accumulation_steps=4 // world_size, eval_strategy="steps", eval_steps=4,
        per_device_eval_batch_size=2, **({} if world_size == 1 else {"ddp_backend": "gloo"}),
    )  # fmt: skip
    return [
        (entry["step"], name, value)
        for entry in trainer.state.log_history
        for name, value in entry.items()
        if name.startswith("task_loss/")
    ]


@pytest.mark.parametrize("world_size", [2, 4])
def test_task_losses_are_over_all_ranks(tmp_path, world_size):
    single = rank_tasks(tmp_path / "single", 1)
    assert [(step, name) for step, name, _ in single] == [
        (4, "task_loss/sums"), (4, "task_loss/colours"),
        (8, "task_loss/sums"), (8, "task_loss/colours"),
    ]  # fmt: skip
    # The Trainer's own eval_sums_loss on two ranks is 5.35 in place of 4.85: five samples do not
    # divide by the ranks.
    results = on_ranks(
        tmp_path / "ranks", world_size, rank_tasks, str(tmp_path / "many"), world_size
    )
    for found in results:
        for (*where, loss), (*expected_where, expected) in zip(found, single, strict=True):
            assert where == expected_where
            assert loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("world_size", [2, 4])
def test_a_run_on_several_ranks_resumes_identically(tmp_path, world_size):
    def a_run(stop=None, resume=None, **changes):
        settings = {
            "ddp_backend": "gloo",
            "gradient_accumulation_steps": 1,
            "per_device_train_batch_size": 8 // world_size,
            "stop": stop,
            **changes,
        }
        if resume is not None:
            settings["resume"] = str(tmp_path / f"whole/checkpoint-{resume}")
        name = "whole" if resume is None else "resumed"
        results = on_ranks(
            tmp_path / f"{name}-ranks", world_size, rank_run, str(tmp_path / name),
            {"has_policy": True, "unit": "tokens"}, settings,
        )  # fmt: skip
        losses = {
            int(step): [result["losses"][step] for result in results]
            for step in results[0]["losses"]
        }
        return {"samples": joined(results), "losses": losses}

    assert_resumes(a_run, 5, ignore_data_skip=world_size == 4)


def test_state_is_json_of_a_few_hundred_bytes(tmp_path):
    run(tmp_path, CASE, stop=2)
    state = json.loads((tmp_path / "checkpoint-2" / "dids_state.json").read_text())
    assert len(json.dumps(state["sampler"])) < 300


def test_a_second_training_begins_anew(tmp_path):
    """In a notebook one calls ``train()`` again: samples, mixtures and policy as at first."""
    case = {"sizes": {"web": 40, "code": 9, "junk": 70}, "change": 4, "has_policy": True,
            "unit": "samples", "accumulation": 1, "seed": 0}  # fmt: skip
    trainer = run(tmp_path, case)
    mixture, first = trainer.mixture, dict(trainer.seen)
    entries = [(step, mixture_k.tolist()) for step, mixture_k in mixture.sampler.log.entries]
    trainer.seen.clear()
    mixture.policy.average = 7.0
    trainer.train()
    assert trainer.seen == first  # what the policy says of the losses acts after the last step
    again = [(step, mixture_k.tolist()) for step, mixture_k in mixture.sampler.log.entries]
    assert again[:2] == entries[:2]
    assert [step for step, _ in again] == [step for step, _ in entries]
    assert 0.0 < mixture.policy.average < 1.0
    assert sum(usage.samples for usage in mixture.usage().values()) == 8 * STEPS
