"""A policy in a loop of one's own measures and decides what it does in a Trainer."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from ranks import on_ranks
from resuming import assert_resumes
from tiny_trainer import SIZES, concatenated, pad, tiny_model, tiny_trainer
from transformers import DataCollatorWithFlattening

from dids.errors import InputError
from dids.training import PolicyLoop, PolicyMixture

pytestmark = pytest.mark.filterwarnings("ignore")

TASKS = {"sums": concatenated().select(range(20)), "colours": concatenated().select(range(40, 60))}
STEPS, ACCUMULATION = 10, 2


def policy_mixture(**settings):
    return PolicyMixture(SIZES, **{"rounds": 5, "overhead": 0.5, "seed": 3, **settings})


def policy_loop(mixture=None, **changes):
    settings = {"micro_batch_size": 4, "accumulation": ACCUMULATION, "num_steps": STEPS, **changes}
    dataset, collate = settings.pop("dataset", concatenated()), settings.pop("collate", pad)
    return PolicyLoop(mixture or policy_mixture(), dataset, TASKS, collate, **settings)


def looped(folder, *, stop=None, resume=None, micro_batch_size=4, num_workers=0):
    """Samples, losses and what was decided, of this rank; a checkpoint is kept after each step."""
    accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATION, cpu=True)
    loop = policy_loop(policy_mixture(lag=3), micro_batch_size=micro_batch_size,
                       num_workers=num_workers)  # fmt: skip
    model = tiny_model(0.0)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    if resume is not None:
        saved = torch.load(folder / str(resume) / "model.pt", weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loop.load(folder / str(resume))
    model, optimizer, loader = accelerator.prepare(model, optimizer, loop.loader)
    loop.begin(model, optimizer)
    samples, losses = {}, {}
    for batch in loader:
        samples.setdefault(loop.step, []).extend(batch["input_ids"][:, 0].tolist())
        with accelerator.accumulate(model), loop.collecting(batch):
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        losses[loop.step] = losses.get(loop.step, 0.0) + loss.item()
        if accelerator.sync_gradients:
            loop.end_step()
            if loop.step == stop:
                kept = folder / str(stop)
                kept.mkdir(parents=True, exist_ok=True)
                plain = accelerator.unwrap_model(model).state_dict()
                torch.save({"model": plain, "optimizer": optimizer.state_dict()}, kept / "model.pt")
                loop.save(kept)
    assert loop.step == STEPS
    history, after = loop.mixture.history, resume or 0
    return {
        "samples": samples,
        "losses": losses,
        "mixtures": {e["step"]: e["probability"] for e in history.mixture if e["step"] >= after},
        "impact": {e["step"]: e["kernel"] for e in history.impact if e["step"] >= after},
    }


@pytest.mark.parametrize("collate", [pad, DataCollatorWithFlattening()])
def test_a_bare_loop_measures_what_a_trainer_does(tmp_path, collate):
    trainer = tiny_trainer(
        tmp_path, policy_mixture(), eval_dataset=TASKS, dropout=0.0, save_strategy="no",
        lr_scheduler_type="constant", max_grad_norm=0.0,
    )  # fmt: skip
    trainer.train()
    loop, model = policy_loop(collate=collate), tiny_model(0.0)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.0)
    loop.begin(model, optimizer)
    batches = iter(loop.loader)
    for _ in range(STEPS):
        of_step = [next(batches) for _ in range(ACCUMULATION)]
        total = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in of_step)
        for batch in of_step:
            with loop.collecting(batch, 1.0 / total):
                model(**batch, num_items_in_batch=total, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loop.end_step()
    found, expected = loop.mixture.history, trainer.mixture.history
    assert [e["step"] for e in found.mixture] == [e["step"] for e in expected.mixture]
    assert len(found.impact) > 2
    for one, other in zip(found.impact, expected.impact, strict=True):
        kernels = [[list(d.values()) for d in each["kernel"].values()] for each in (one, other)]
        np.testing.assert_allclose(*kernels, rtol=1e-3, atol=1e-6)
    assert found.impact[0]["kernel"] == expected.impact[0]["kernel"]
    shares = [[list(e["probability"].values()) for e in each.mixture] for each in (found, expected)]
    np.testing.assert_allclose(*shares, atol=2e-3)
    assert loop.mixture.result()["steps"] == STEPS


@pytest.mark.parametrize("stop", [2, 5])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loop_resumes_with_the_same_samples_and_mixtures(tmp_path, stop, num_workers):
    def run(stop=None, resume=None):
        workers = 0 if resume is None else num_workers
        return looped(tmp_path, stop=stop, resume=resume, num_workers=workers)

    assert_resumes(run, stop)


def test_two_ranks_have_one_mixture_and_samples_of_their_own(tmp_path):
    first, second = on_ranks(tmp_path / "ranks", 2, two_on_rank, tmp_path / "b")
    assert first["mixtures"] == second["mixtures"]
    assert first["impact"] == second["impact"]
    assert len(first["impact"]) > 2
    alone = looped(tmp_path / "a")
    for step in range(2):  # of the first mixture, which nothing of the training is in
        both = first["samples"][str(step)] + second["samples"][str(step)]
        assert sorted(both) == sorted(alone["samples"][step])


def two_on_rank(folder):
    return looped(folder, micro_batch_size=2)


def test_a_loop_that_skips_something_is_told(tmp_path):
    loop, model = policy_loop(), tiny_model(0.0)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    batches = iter(loop.loader)
    batch = next(batches)
    with pytest.raises(InputError, match=r"call begin\(model, optimizer\) before"):
        loop.end_step()
    with pytest.raises(InputError, match="the loader was read before begin"):
        loop.begin(model, optimizer)
    loop = policy_loop()
    loop.begin(model, optimizer)
    batches = iter(loop.loader)
    batch = next(batches)
    with pytest.raises(InputError, match="called after 0 of 2 batches"):
        loop.end_step()
    for each in (batch, next(batches)):
        with loop.collecting(each):
            model(**each).loss.backward()
        with pytest.raises(InputError, match=r"save\(\) was called within a step"):
            loop.save(tmp_path)
    with (
        pytest.raises(InputError, match="a step has 2 batches, and end_step"),
        loop.collecting(next(batches)),
    ):
        pass
    with pytest.raises(InputError, match="accumulation must be a whole number from 1 on, got 0"):
        policy_loop(accumulation=0)
    with pytest.raises(InputError, match="The training set has 20 samples, but the domains have"):
        policy_loop(dataset=TASKS["sums"])


def test_several_processes_without_accelerate_are_refused(monkeypatch):
    monkeypatch.setattr("dids.training.policy_loop.num_ranks", lambda: 2)
    monkeypatch.setattr("dids.training.policy_loop.is_initialized", lambda: False)
    loop, model = policy_loop(), tiny_model(0.0)
    with pytest.raises(InputError, match="deals them out through Accelerate"):
        loop.begin(model, torch.optim.AdamW(model.parameters()))
