"""Tests of trained models by all ranks of a run are those of one process; faults."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml
from launched import launched
from test_preparing_on_several_ranks import (
    DIED,
    PATIENCE_S,
    Watching,
    await_that,
    ranks_of,
    taken,
)
from tiny_run import write_config, write_tiny_data

from dids.atomic import write_json
from dids.errors import InputError
from dids.run.folder import RunFolder
from dids.run.task_tests import TaskTests

TASKS = ("colours", "more_colours", "more_sums", "sums")
RUNS = ("train", "control")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a run that is trained and tested, by one process."""
    folder = tmp_path_factory.mktemp("trained")
    write_tiny_data(folder)
    tasks = {
        task: {
            split: str(folder / f"{task.removeprefix('more_')}-{split}.jsonl")
            for split in ("validation", "test")
        }
        for task in TASKS
    }
    budget = {"tokens": 1500, "batch_size": 12}
    training = {"per_device_train_batch_size": 2, "learning_rate": 0.01}
    config = write_config(folder, tasks=tasks, budget=budget, training=training)
    (folder / "taken").mkdir()
    ended = launched(1, "evaluate", config)
    assert ended.statuses == [0], ended.said
    shutil.copytree(folder / "run", folder / "finished")
    return folder


@pytest.fixture
def untested(trained) -> Path:
    """The same before its models were tested."""
    shutil.rmtree(trained / "run")
    shutil.copytree(trained / "finished", trained / "run")
    RunFolder(trained / "run").forget("evaluate")
    (trained / "run" / "evaluation.json").unlink()
    for note in (trained / "taken").iterdir():
        note.unlink()
    return trained


def evaluation(folder: Path) -> bytes:
    return (folder / "evaluation.json").read_bytes()


@pytest.mark.parametrize("num", [2, 3])
def test_any_number_of_ranks_finds_the_same_and_every_rank_tests_some(untested, num):
    ended = launched(num, "evaluate", untested / "config.yaml", fault=Watching(untested, num))
    assert ended.statuses == [0] * num, ended.said
    assert evaluation(untested / "run") == evaluation(untested / "finished")
    assert ranks_of(untested, TaskTests) == {str(rank) for rank in range(num)}
    assert sorted(taken(untested, TaskTests)) == sorted(TASKS * len(RUNS))
    for name in RUNS:
        assert ended.said.count(f"testing {name}: done") == 1


def test_results_stand_in_the_order_of_the_tasks(trained):
    found = json.loads(evaluation(trained / "finished"))
    assert tuple(found) == RUNS
    assert {tuple(by_task) for by_task in found.values()} == {TASKS}
    for by_task in found.values():
        assert by_task["more_sums"] == by_task["sums"]
        assert by_task["more_colours"] == by_task["colours"]
        assert "accuracy" not in by_task["sums"]
        assert 0.0 <= by_task["colours"]["accuracy"] <= 1.0


def test_a_model_of_a_name_is_tested_before_training_too(trained, tmp_path):
    first = trained / "finished"
    recorded = yaml.safe_load((first / "config.yaml").read_text())
    changes = {key: recorded[key] for key in ("data", "tasks", "budget", "training")}
    changes["data"]["cache"] = None
    changes |= {"tokenizer": None, "model": str(first / "train" / "model"), "control": None}
    config = write_config(tmp_path, **changes)
    assert launched(1, "evaluate", config).statuses == [0]
    found = json.loads(evaluation(tmp_path / "run"))
    assert tuple(found) == ("train", "base")
    assert found["base"] == json.loads(evaluation(first))["train"]
    assert found["train"] != found["base"]


def kept(folder: Path) -> dict:
    path = folder / "run" / "evaluation.partial.json"
    return json.loads(path.read_text()) if path.exists() else {"results": {}}


def names_of(by_run: dict) -> list[str]:
    return sorted(task for by_task in by_run.values() for task in by_task)


def test_a_rank_that_dies_in_a_test_ends_all_and_the_next_start_does_the_rest(untested):
    def act(rank, num_taken):
        if rank == 1 and num_taken == 2:
            await_that(lambda: names_of(kept(untested)["results"]))
            os._exit(DIED)
        if rank == 0 and num_taken == 2:  # at its third, rank 1 may find no second of the four
            time.sleep(PATIENCE_S)

    config = untested / "config.yaml"
    ended = launched(2, "evaluate", config, fault=Watching(untested, 2, act, TaskTests))
    assert ended.statuses[1] == DIED
    assert 0 not in ended.statuses
    assert -signal.SIGKILL not in ended.statuses
    assert "Traceback" not in ended.said
    assert not (untested / "run" / "evaluation.json").exists()
    done = names_of(kept(untested)["results"])
    assert 0 < len(done) < len(TASKS)
    taken(untested, TaskTests)
    assert launched(2, "evaluate", config, fault=Watching(untested)).statuses == [0, 0]
    assert sorted(done + taken(untested, TaskTests)) == sorted(TASKS * len(RUNS))
    assert evaluation(untested / "run") == evaluation(untested / "finished")
    assert not (untested / "run" / "evaluation.partial.json").exists()


@pytest.mark.parametrize("is_theirs", [True, False])
def test_results_that_are_kept_count_for_the_models_that_they_are_of(untested, is_theirs):
    finished = json.loads(evaluation(untested / "finished"))
    finished["train"]["sums"]["test_loss"] = 123.0
    models = {name: RunFolder(untested / "run").facts(name)["checksums"] for name in RUNS}
    if not is_theirs:
        models["control"] = dict.fromkeys(models["control"], "0" * 64)
    write_json(
        untested / "run" / "evaluation.partial.json", {"models": models, "results": finished}
    )
    ended = launched(1, "evaluate", untested / "config.yaml")
    assert ended.statuses == [0], ended.said
    found = json.loads(evaluation(untested / "run"))
    assert (found == finished) == is_theirs
    assert (evaluation(untested / "run") == evaluation(untested / "finished")) != is_theirs


def test_a_mistake_in_a_test_of_another_rank_is_one_sentence(untested):
    def act(rank, num_taken):
        if rank == 1:
            raise InputError("the model has diverged.")

    watching = Watching(untested, 2, act, TaskTests)
    ended = launched(2, "evaluate", untested / "config.yaml", fault=watching)
    assert 2 in ended.statuses
    assert 0 not in ended.statuses
    assert ended.said.count("dids: the model has diverged.") == 1
    assert "Traceback" not in ended.said
