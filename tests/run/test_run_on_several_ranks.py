"""``dids run`` on several ranks: the result of one; one sentence for a mistake; faults.

Every fault is made to happen on two gloo ranks; the run that goes on ends as if left alone.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from launched import launched, on_two_machines
from safetensors.torch import load_file
from tiny_run import write_config

from dids.config.schema import ModelConfig
from dids.errors import InputError
from dids.run.folder import RunFolder
from dids.training.models import build_model

DIED = 9


def config_in(folder: Path, **changes) -> Path:
    settings = {
        "domains": {"number": "sources"},
        "budget": {"tokens": 4000, "batch_size": 8},
        "proxy": {"warmup_steps": 2},
        "training": {"per_device_train_batch_size": 2, "learning_rate": 0.01, "logging_steps": 5},
        "control": None,
    }
    return write_config(folder, **{**settings, **changes})


def outcome(folder: Path) -> dict:
    """What must be the same: mixtures with their steps, what was drawn, the trained weights."""
    train = folder / "run" / "train"
    history = json.loads((train / "history.json").read_text())
    drawn = json.loads((train / "drawn.json").read_text())
    return {
        "mixture": [(entry["step"], entry["probability"]) for entry in history["mixture"]],
        "drawn": drawn,
        "task_losses": history["task_losses"],
        "impact": history["impact"],
        "model": load_file(train / "model" / "model.safetensors"),
    }


def assert_same(found: dict, expected: dict) -> None:
    for name in ("mixture", "drawn", "task_losses", "impact"):
        assert found[name] == expected[name], name
    for name, tensor in expected["model"].items():
        assert torch.equal(found["model"][name], tensor), name


def assert_cosines_close(found: dict, expected: dict, *, rtol: float, atol: float) -> None:
    for one, other in zip(found["impact"], expected["impact"], strict=True):
        for domain, by_task in other["cosine"].items():
            values = list(one["cosine"][domain].values())
            np.testing.assert_allclose(values, list(by_task.values()), rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = launched(2, "train", config_in(folder))
    assert ended.statuses == [0, 0], ended.said
    return folder


def test_any_number_of_ranks_gives_the_same_mixtures_and_samples(undisturbed, tmp_path):
    expected = outcome(undisturbed)
    for num in (1, 4):
        folder = tmp_path / str(num)
        folder.mkdir()
        config = config_in(folder)
        assert launched(num, "train", config).statuses == [0] * num
        found = outcome(folder)
        assert found["mixture"] == expected["mixture"]
        assert found["drawn"] == expected["drawn"]
        for one, other in zip(found["impact"], expected["impact"], strict=True):
            for form in ("cosine", "kernel", "distance"):
                for domain, by_task in other[form].items():
                    np.testing.assert_allclose(
                        list(one[form][domain].values()), list(by_task.values()), rtol=1e-3,
                        atol=1e-4 * max(map(abs, by_task.values())),
                    )  # fmt: skip
        for name, tensor in expected["model"].items():
            torch.testing.assert_close(found["model"][name], tensor, rtol=1e-4, atol=1e-5)


def test_there_is_one_progress_and_one_log(undisturbed):
    first, second = ((undisturbed / f"output-{rank}").read_text() for rank in range(2))
    assert first.count("training: done") == 1
    assert "done" not in second
    log = (undisturbed / "run" / "log.txt").read_text()
    assert log.count("stage train begins") == 1


def in_step(step, act):
    """Act on a rank when it trains on a micro-batch of this step, counted from 0."""

    def fault(rank, who=1):
        from dids.training.trainer import DidsTrainer

        train = DidsTrainer.training_step

        def training_step(self, *args, **kwargs):
            # The proxy's warm-up has two steps.
            if rank == who and self.state.global_step == step:
                act()
            return train(self, *args, **kwargs)

        DidsTrainer.training_step = training_step

    return fault


def die():
    os._exit(DIED)


def dies_in_an_impact_round(rank):
    from dids.impact.estimate import ImpactEstimator

    measure = ImpactEstimator.measure

    def measured(self, model, optimizer, *, index, training=None):
        if rank == 1 and index == 2:
            die()
        return measure(self, model, optimizer, index=index, training=training)

    ImpactEstimator.measure = measured


def dies_while_saving(rank):
    from transformers import Trainer

    save = Trainer._save_rng_state

    def saved(self, output_dir):
        if rank == 1 and self.state.global_step > 6:
            die()
        return save(self, output_dir)

    Trainer._save_rng_state = saved


def first_dies_before_its_checkpoint_counts(rank):
    from dids.training import mixture_callback

    write = mixture_callback.write_state

    def written(checkpoint, state):
        if rank == 0 and state["step"] > 6:
            die()
        write(checkpoint, state)

    mixture_callback.write_state = written


FAULTS = {
    "in a step": in_step(7, die),
    "in an impact round": dies_in_an_impact_round,
    "while saving": dies_while_saving,
    "the first, before its checkpoint counts": first_dies_before_its_checkpoint_counts,
}


@pytest.mark.parametrize("where", FAULTS)
def test_a_run_whose_rank_dies_ends_all_and_goes_on_as_if_left_alone(undisturbed, tmp_path, where):
    config = config_in(tmp_path)
    ended = launched(2, "train", config, fault=FAULTS[where])
    assert DIED in ended.statuses
    assert -signal.SIGKILL not in ended.statuses  # nobody waited for the dead
    assert 0 not in ended.statuses
    assert "Traceback" not in ended.said
    assert not (tmp_path / "run" / "train" / "model").exists()
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert launched(2, "train", config).statuses == [0, 0]
    assert_same(outcome(tmp_path), outcome(undisturbed))


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("goes_on_with", [2, 1])
def test_sigterm_saves_within_a_round_and_the_run_goes_on(undisturbed, tmp_path, goes_on_with):
    config = config_in(tmp_path)
    ended = launched(2, "train", config, fault=in_step(11, terminate))  # to one of them
    assert ended.statuses == [143, 143]
    sentence = "stopped by SIGTERM at step 12; the same command goes on from there."
    assert ended.said.count(sentence) in (1, 2)  # the first to end has the others told, too
    assert "Traceback" not in ended.said
    checkpoint = tmp_path / "run" / "train" / "checkpoint-12"
    kept = sorted(path.name for path in checkpoint.glob("dids_gradients_*"))
    assert kept == ["dids_gradients_00000.safetensors", "dids_gradients_00001.safetensors"]
    assert launched(goes_on_with, "train", config).statuses == [0] * goes_on_with
    found, expected = outcome(tmp_path), outcome(undisturbed)
    if goes_on_with == 2:
        assert_same(found, expected)
    assert found["mixture"] == expected["mixture"]
    assert found["drawn"] == expected["drawn"]


def test_sigterm_outside_of_training_stops_at_once(undisturbed, tmp_path):
    def fault(rank):
        from dids.run import stages

        def impact(work):
            terminate()

        if rank == 0:
            stages.STAGES["impact"] = impact

    config = config_in(tmp_path)
    ended = launched(2, "train", config, fault=fault)
    assert ended.statuses[0] == 143
    assert ended.said.count("the same command goes on from here") == 1
    assert not RunFolder(tmp_path / "run").is_done("impact")
    assert launched(2, "train", config).statuses == [0, 0]
    assert_same(outcome(tmp_path), outcome(undisturbed))


def mistake():
    raise InputError("training: the loss turned nan.")


@pytest.mark.parametrize("who", [0, 1])
def test_a_mistake_on_one_rank_is_one_sentence(tmp_path, who):
    fault = in_step(3, mistake)
    ended = launched(2, "train", config_in(tmp_path), fault=lambda rank: fault(rank, who))
    assert ended.statuses[who] == 2
    assert 0 not in ended.statuses
    assert -signal.SIGKILL not in ended.statuses
    assert ended.said.count("dids: training: the loss turned nan.") == 1
    assert "Traceback" not in ended.said


def test_a_mistake_in_the_config_is_one_sentence(tmp_path):
    config = config_in(tmp_path, budget={"tokens": 100, "batch_size": 6})
    ended = launched(2, "train", config)
    assert 2 in ended.statuses
    assert 0 not in ended.statuses  # the same, or ended with the one that was faster
    assert ended.said.count("dids: ") == 1
    assert "budget.batch_size: 6 samples cannot be dealt to 2 processes" in ended.said


def test_a_second_start_is_refused_on_all_ranks(tmp_path):
    config = config_in(tmp_path)
    with RunFolder(tmp_path / "run").locked():
        ended = launched(2, "train", config)
    assert ended.statuses[0] == 2
    assert 0 not in ended.statuses
    assert ended.said.count("another process is working in this run folder") == 1


def test_commands_of_one_process_refuse_several(tmp_path):
    ended = launched(2, "check", config_in(tmp_path))
    assert ended.statuses == [2, 2]
    assert ended.said.count("2 processes were started, but `dids check` is one process") == 1
    ended = launched(2, "run", config_in(tmp_path), "--dry-run")
    assert ended.statuses == [2, 2]
    assert "start it without torchrun or accelerate, with --processes 2." in ended.said


def test_another_global_batch_is_refused_where_a_checkpoint_has_one(tmp_path):
    config = config_in(tmp_path, budget={"tokens": 4000})
    ended = launched(2, "train", config, fault=in_step(20, terminate))
    assert ended.statuses == [143, 143]
    ended = launched(1, "train", config)
    assert ended.statuses == [2]
    assert "it was made with 4 samples a step over all processes, and now it would be 2" in (
        ended.said
    )


LORA = {
    "config": {
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 2, "tie_word_embeddings": True,
    },
    "lora": {"r": 2, "alpha": 8, "target_modules": ["q_proj", "down_proj"]},
}  # fmt: skip
CHECKPOINTED = {
    "per_device_train_batch_size": 2,
    "learning_rate": 0.01,
    "gradient_checkpointing": True,
}
KINDS = {
    "bfloat16": {"training": {**CHECKPOINTED, "bf16": True}},
    "lora": {"model": LORA, "training": CHECKPOINTED},
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_training_measure_the_same_on_two_ranks(tmp_path, kind):
    if kind == "lora":
        pytest.importorskip("peft")
    found = []
    for num in (1, 2):
        folder = tmp_path / str(num)
        folder.mkdir()
        ended = launched(num, "train", config_in(folder, **KINDS[kind]))
        assert ended.statuses == [0] * num, ended.said
        found.append(outcome(folder))
    one, two = found
    close = {"rtol": 0.05, "atol": 0.05} if kind == "bfloat16" else {"rtol": 1e-3, "atol": 1e-4}
    assert len(one["impact"]) == len(two["impact"]) == 3
    assert_cosines_close(two, one, **close)
    if kind != "bfloat16":
        assert one["mixture"] == two["mixture"]
        assert one["drawn"] == two["drawn"]


def in_few_bits(folder):
    """A model for ``model.quantization``, which takes one with weights of its own."""
    size = {**LORA["config"], "vocab_size": 300}
    built = build_model(ModelConfig(config=size), vocab_size=300, seed=0)
    built.save_pretrained(folder / "base")
    return {"name": str(folder / "base"), "lora": LORA["lora"], "quantization": "4bit"}


@pytest.mark.parametrize(
    ("kind", "num"),
    [("whole", 1), pytest.param("4bit", 2, marks=pytest.mark.bitsandbytes)],
)
def test_adapters_resume_within_a_round(tmp_path, kind, num):
    pytest.importorskip("peft")
    if kind == "4bit":
        pytest.importorskip("bitsandbytes")
    model = LORA if kind == "whole" else in_few_bits(tmp_path)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    assert launched(num, "train", config_in(whole, model=model)).statuses == [0] * num
    config = config_in(stopped, model=model)
    fault = in_step(11, terminate)
    ended = launched(num, "train", config, fault=lambda rank: fault(rank, 0))
    assert ended.statuses == [143] * num
    assert "stopped by SIGTERM at step 12; the same command goes on from there." in ended.said
    assert launched(num, "train", config).statuses == [0] * num
    assert_same(outcome(stopped), outcome(whole))


def test_torchrun_hands_sigterm_on_to_all(tmp_path):
    # Workers of loaders get it too, and the step needs what they read.
    training = {"per_device_train_batch_size": 2, "dataloader_num_workers": 1}
    config = config_in(tmp_path, budget={"tokens": 10_000_000, "batch_size": 8}, training=training)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    with subprocess.Popen(
        [*command, "-m", "dids", "train", str(config)], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        live = tmp_path / "run" / "train" / "live.json"
        while not (live.exists() and json.loads(live.read_text())["step"]):
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        said = process.communicate()[0]
    stopped = re.findall(r"stopped by SIGTERM at step (\d+); the same command goes on", said)
    assert len(stopped) == 1, said
    assert (live.parent / f"checkpoint-{stopped[0]}" / "dids_state.json").exists()
    assert not json.loads(live.read_text())["is_over"]
    assert not RunFolder(tmp_path / "run").is_worked_on


def test_two_machines_train_as_two_processes_of_one(undisturbed, tmp_path):
    on_two_machines(config_in(tmp_path))
    assert_same(outcome(tmp_path), outcome(undisturbed))
