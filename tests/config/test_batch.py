"""A step's samples are shared evenly by any number of processes, or that is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.config import Config
from dids.config.batch import arguments_of_first_rank, batch_size, training_arguments
from dids.errors import InputError


def config(training, samples=None):
    return Config.model_validate(
        {
            "run": "runs/a",
            "data": {"sources": {"web": "web.jsonl"}},
            "tasks": {"sums": {"validation": "a.jsonl", "test": "b.jsonl"}},
            "tokenizer": {"train": {}},
            "model": {"config": {"model_type": "llama"}},
            "budget": {"tokens": 100, "batch_size": samples},
            "training": training,
        }
    )


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_micro_batches_of_all_processes_make_the_step(per_device, accumulation, num_ranks):
    samples = per_device * accumulation * num_ranks
    made = config({"per_device_train_batch_size": per_device}, samples)
    found = training_arguments(made, num_ranks)
    assert found["gradient_accumulation_steps"] == accumulation
    assert batch_size(made, num_ranks) == samples
    alone = arguments_of_first_rank(made, num_ranks)
    assert alone["gradient_accumulation_steps"] == accumulation * num_ranks
    assert alone["per_device_train_batch_size"] == per_device


@given(st.integers(1, 9), st.integers(1, 9))
def test_without_a_size_it_grows_with_the_processes(accumulation, num_ranks):
    made = config({"gradient_accumulation_steps": accumulation})
    assert batch_size(made, num_ranks) == 8 * accumulation * num_ranks
    assert training_arguments(made, num_ranks)["gradient_accumulation_steps"] == accumulation
    alone = arguments_of_first_rank(made, num_ranks)
    assert alone["gradient_accumulation_steps"] == accumulation * num_ranks


@pytest.mark.parametrize("samples", [4, 20])
def test_what_cannot_be_shared_is_said_with_what_can(samples):
    with pytest.raises(InputError, match=rf"{samples} samples .* 2 processes .* multiple of 16\."):
        training_arguments(config({}, samples), 2)


def test_two_ways_to_say_it_are_one_too_many():
    with pytest.raises(ValueError, match=r"budget\.batch_size and training\.gradient_acc"):
        config({"gradient_accumulation_steps": 2}, 16)
