"""With rounds as well, domains and tasks have named scalars in the Trainer's own log."""

import pytest
from tiny_rounds import tiny_rounds, trained
from tiny_trainer import SIZES
from transformers import TrainerCallback

from dids.atomic import read_json
from dids.training.live import LiveNumbers


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
