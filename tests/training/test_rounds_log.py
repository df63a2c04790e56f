"""With rounds as well, domains and tasks have named scalars in the Trainer's own log."""

import re
from pathlib import Path

import numpy as np
import pytest
from tiny_trainer import SIZES, START, arguments, concatenated, pad, tiny_model
from transformers import PrinterCallback, TrainerCallback

from dids.atomic import read_json
from dids.impact.measuring_budget import MeasuringBudget
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import make_policy
from dids.sampling import MixtureSampler
from dids.training import DidsTrainer, DomainMixture
from dids.training.live import LiveNumbers
from dids.training.rounds import MixtureRounds, RoundPlan

ROOT = Path(__file__).parent.parent.parent


class FallingLosses:
    """An estimator that measures no impact."""

    budget = MeasuringBudget(0, 2, 1)

    def __init__(self):
        self.loss = 4.0

    def grouped_gradients(self, model):
        return None

    def measure(self, model, optimizer, *, index, training=None):
        raise AssertionError("the uniform policy needs no impact")

    def task_losses(self, model):
        self.loss -= 0.5
        return {"sums": self.loss}


def tiny_rounds():
    domain_n = np.repeat(np.arange(3), list(SIZES.values()))
    prior = np.full(3, 1 / 3)
    sampler = MixtureSampler(
        [np.flatnonzero(domain_n == k) for k in range(3)], np.ones(69, dtype=np.int64),
        batch_size=8, seed=0, mixture=prior,
    )  # fmt: skip
    return MixtureRounds(
        sampler=sampler, policy=make_policy("uniform"), estimator=FallingLosses(),
        plan=RoundPlan(budget_tokens=None, num_rounds=2, apply_lag=1, nominal_steps=8),
        limits=MixtureLimits(lower_k=np.zeros(3), upper_k=np.ones(3)), domain_names=list(SIZES),
        domain_of_sample=domain_n, task_weights=np.ones(1), sizes=sampler.draws_by_domain(0) + 1,
        scored_tokens=np.ones(3), initial_impact=None, prior=prior,
    )  # fmt: skip


def trained(folder, rounds, *callbacks, **changes):
    trainer = DidsTrainer(
        model=tiny_model(), args=arguments(folder, max_steps=8, save_strategy="no", **changes),
        data_collator=pad, train_dataset=concatenated(), mixture=rounds,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train()
    return trainer


def test_domains_and_tasks_are_in_the_log(tmp_path):
    trainer = trained(tmp_path, tiny_rounds())
    first, *_, last = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert first["task_loss/sums"] == 3.5  # before any step
    assert last["task_loss/sums"] == 2.5
    for name in SIZES:
        assert first[f"mixture/{name}"] == pytest.approx(1 / 3)
        assert 3 < first[f"domain_loss/{name}"] < 7
    assert trainer.state.epoch == 1.0
    assert [first["run/tokens"], last["run/tokens"]] == [2 * 8, 8 * 8]
    assert [first["run/round"], last["run/round"]] == [0, 1]
    assert last["run/tokens_per_s"] > 0
    assert 0 < last["run/overhead"] < 100


def test_the_scalars_are_those_of_the_documentation(tmp_path):
    """docs/see.md promises these names; a dashboard breaks when one changes."""
    page = (ROOT / "docs" / "see.md").read_text(encoding="utf-8")
    promised = set(re.findall(r"^\| `([\w/]+)` \|", page, re.MULTILINE))
    logged = {
        re.sub(r"(?<=/)(web|code|junk|sums)$", "NAME", name)
        for mixture in (tiny_rounds(), DomainMixture(START, SIZES))
        for entry in trained(tmp_path, mixture).state.log_history
        for name in entry
        if "/" in name
    }
    assert logged == promised


def test_what_a_run_says_of_itself_is_written_while_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("dids.training.live._EVERY_S", 0.0)
    rounds = tiny_rounds()
    rounds.history.mixture.append({"probability": dict.fromkeys(SIZES, 1 / 3)})
    seen = []

    class Reading(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append(read_json(tmp_path / "live.json"))

    trained(tmp_path, rounds, LiveNumbers(tmp_path / "live.json", rounds), Reading())
    assert [live["step"] for live in seen] == list(range(1, 9))
    assert [live["round"] for live in seen] == [0, 0, 0, 1, 1, 1, 1, 1]
    last = read_json(tmp_path / "live.json")
    assert last["is_over"]
    assert (last["step"], last["nominal_steps"], last["progress"]) == (8, 8, 1.0)
    assert last["tokens"] == 64
    assert last["task_losses"]["sums"] == [3.5, 3.0, 2.5]
    assert sum(last["mixtures"][-1].values()) == pytest.approx(1.0)
    assert last["training_loss"] > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_scalars(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = trained(tmp_path, tiny_rounds(), report_to="tensorboard")
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    scalars = EventAccumulator(str(events.parent)).Reload()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    for name in ("mixture/web", "task_loss/sums", "domain_loss/code", "run/tokens"):
        found = scalars.Scalars(f"train/{name}")
        assert [event.step for event in found] == [2, 4, 6, 8]
        expected = [entry[name] for entry in logged]
        assert [event.value for event in found] == pytest.approx(expected)
