"""``dids run`` with parameters sharded over ranks (FSDP2): the result of one process, whole."""

import shutil
import signal

import numpy as np
import pytest
import torch
from launched import launched
from test_run_on_several_ranks import (
    LORA,
    assert_cosines_close,
    config_in,
    in_step,
    outcome,
    terminate,
)
from tiny_run import write_config

from dids.config import load_config
from dids.config.batch import training_arguments
from dids.errors import InputError

TRAINING = {"per_device_train_batch_size": 2, "learning_rate": 0.01, "logging_steps": 5}
SHARDED = {**TRAINING, "fsdp": True}


def assert_close(found, expected, weights=1e-5):
    """The same mixtures and samples; what was measured and trained to the rounding of sums."""
    assert found["mixture"] == expected["mixture"]
    assert found["drawn"] == expected["drawn"]
    assert len(found["impact"]) == len(expected["impact"]) == 3
    assert_cosines_close(found, expected, rtol=1e-3, atol=1e-4)
    assert set(found["model"]) == set(expected["model"])
    for name, tensor in expected["model"].items():
        torch.testing.assert_close(found["model"][name], tensor, rtol=10 * weights, atol=weights)


# Of two samples the second rank has none.
IMPACT = {
    "validation_samples": 2, "task_samples": 2, "max_coordinates": 1000, "min_measurements": 4
}  # fmt: skip


def sharded_config(folder, **changes):
    return config_in(folder, **{"training": SHARDED, "impact": IMPACT, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of one process, which has nothing to shard."""
    folder = tmp_path_factory.mktemp("whole")
    ended = launched(1, "train", sharded_config(folder), fault=expect_shards)
    assert ended.statuses == [0], ended.said
    return outcome(folder)


def expect_shards(_rank):
    """Make sure that there are some in every step that is trained on by two."""
    from dids.gradients.shards import is_sharded
    from dids.ranks import num_ranks
    from dids.training.trainer import DidsTrainer

    train = DidsTrainer.training_step

    def training_step(self, model, *args, **kwargs):
        assert is_sharded(model) == (num_ranks() > 1)
        return train(self, model, *args, **kwargs)

    DidsTrainer.training_step = training_step


def test_two_ranks_with_shards_train_measure_and_save_as_one_process(whole, tmp_path):
    ended = launched(2, "train", sharded_config(tmp_path), fault=expect_shards)
    assert ended.statuses == [0, 0], ended.said
    assert_close(outcome(tmp_path), whole)


@pytest.mark.parametrize("goes_on_with", [1, 4])
def test_a_sharded_checkpoint_is_whole_and_goes_on_with_any_number(whole, stopped, goes_on_with):
    folder = stopped
    ended = launched(goes_on_with, "train", folder / "config.yaml")
    assert ended.statuses == [0] * goes_on_with, ended.said
    assert_close(outcome(folder), whole)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    ended = launched(2, "train", sharded_config(folder), fault=in_step(11, terminate))
    # The first to end has the others told again, who may be past listening.
    assert 143 in ended.statuses and set(ended.statuses) <= {143, -signal.SIGTERM}, ended.said
    assert "stopped by SIGTERM at step 12" in ended.said
    shutil.copytree(folder / "run", folder / "kept")
    return folder


@pytest.fixture
def stopped(kept):
    """A run that two ranks stopped within a round, as they left it."""
    shutil.rmtree(kept / "run")
    shutil.copytree(kept / "kept", kept / "run")
    return kept


def test_a_checkpoint_of_one_process_goes_on_with_shards(whole, tmp_path):
    config = sharded_config(tmp_path)
    ended = launched(1, "train", config, fault=lambda rank: in_step(11, terminate)(rank, 0))
    assert ended.statuses == [143]
    assert launched(2, "train", config, fault=expect_shards).statuses == [0, 0]
    assert_close(outcome(tmp_path), whole)


NEOX = {
    "config": {
        "model_type": "gpt_neox", "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 2,
    }
}  # fmt: skip


@pytest.mark.parametrize("stops_with", [1, 2])
def test_a_head_that_files_call_otherwise_is_there_again_after_a_stop(tmp_path, stops_with):
    # Trainer's checkpoints had it as embed_out, and training went on with a new one: losses + 1.2.
    found, fault = [], in_step(11, terminate)
    for is_stopped in (False, True):
        folder = tmp_path / str(is_stopped)
        folder.mkdir()
        config = sharded_config(folder, model=NEOX)
        if is_stopped:
            ended = launched(stops_with, "train", config, fault=lambda rank: fault(rank, 0))
            assert "stopped by SIGTERM at step 12" in ended.said
        assert launched(1, "train", config).statuses == [0]
        found.append(outcome(folder))
    whole, stopped = found
    assert {"embed_out.weight", "gpt_neox.embed_in.weight"} <= set(whole["model"])
    for losses, others in zip(*(one["task_losses"].values() for one in found), strict=True):
        np.testing.assert_allclose(losses, others, rtol=1e-5)
    assert_close(stopped, whole, weights=1e-4)


def test_shards_of_a_model_with_biases_train_as_one_process(tmp_path):
    found = []
    for num in (1, 2):
        folder = tmp_path / str(num)
        folder.mkdir()
        assert launched(num, "train", sharded_config(folder, model=NEOX)).statuses == [0] * num
        found.append(outcome(folder))
    assert_close(found[1], found[0], weights=1e-4)


def test_adapters_are_sharded_with_the_layers_that_they_lie_beside(tmp_path):
    pytest.importorskip("peft")
    found = []
    for num in (1, 2):
        folder = tmp_path / str(num)
        folder.mkdir()
        # Of a factor whose other one is still zero the gradient is rounding, which Adam's division
        # by its root would make a thousandth of a cosine.
        training = {**SHARDED, "gradient_checkpointing": True, "adam_epsilon": 1e-5}
        config = sharded_config(folder, model=LORA, training=training)
        ended = launched(num, "train", config, fault=expect_shards)
        assert ended.statuses == [0] * num, ended.said
        found.append(outcome(folder))
    assert_close(found[1], found[0])


def test_bfloat16_shards_measure_to_its_rounding(whole, tmp_path):
    training = {**SHARDED, "bf16": True, "gradient_checkpointing": True}
    ended = launched(2, "train", sharded_config(tmp_path, training=training), fault=expect_shards)
    assert ended.statuses == [0, 0], ended.said
    found = outcome(tmp_path)
    assert all(tensor.dtype == torch.float32 for tensor in found["model"].values())
    assert_cosines_close(found, whole, rtol=0.05, atol=0.05)


REFUSED = {
    "fsdp_config.version": {"fsdp": True, "fsdp_config": {"version": 1}},
    "fsdp_config.cpu_offload": {"fsdp": True, "fsdp_config": {"cpu_offload": True}},
    "fsdp_config.fsdp_activation_checkpointing": {
        "fsdp": True, "fsdp_config": {"fsdp_activation_checkpointing": True},
    },
    "fsdp_config.auto_wrap_policy": {"fsdp": True, "fsdp_config": {"auto_wrap_policy": "layers"}},
    "fsdp": {"fsdp": "full_shard auto_wrap"},
    "deepspeed": {"deepspeed": {"zero_optimization": {"stage": 3}}},
}  # fmt: skip


@pytest.mark.parametrize("field", REFUSED)
def test_other_ways_to_divide_a_model_are_refused_by_name(tmp_path, field):
    with pytest.raises(InputError, match=rf"config.yaml, line \d+: 'training.{field}' "):
        load_config(write_config(tmp_path, training=REFUSED[field]))


def test_a_layer_that_the_model_has_not_is_named_with_the_nearest(tmp_path):
    training = {**SHARDED, "fsdp_config": {"transformer_layer_cls_to_wrap": "LlamaDecoder"}}
    ended = launched(2, "train", sharded_config(tmp_path, training=training))
    assert 2 in ended.statuses and 0 not in ended.statuses
    assert "no layer of class LlamaDecoder; did you mean LlamaDecoderLayer?" in ended.said
    assert "Traceback" not in ended.said


def test_a_policy_of_hessians_is_refused_where_there_are_shards(tmp_path):
    path = write_config(tmp_path, training=SHARDED, mixture={"policy": "commute", "rounds": 2})
    config = load_config(path)
    with pytest.raises(InputError, match="commute needs Hessians"):
        training_arguments(config, 2)
    assert "fsdp" not in training_arguments(config, 1)


def test_the_launcher_is_told_where_sharding_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    ended = launched(1, "train", config_in(tmp_path))
    assert ended.statuses == [2]
    assert "stands in its config, training: {fsdp: true}" in ended.said
