"""How many samples one optimizer step has, and how the processes of a run share them."""

from typing import Any

from dids.config import sharding
from dids.config.schema import Config
from dids.errors import InputError

_PER_DEVICE, _ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
_DEFAULT_PER_DEVICE = 8  # of Transformers


def batch_size(config: Config, num_ranks: int = 1) -> int:
    """Samples of one optimizer step, over all processes.

    Args:
        config: As resolved.
        num_ranks: Processes of the run.
    """
    if config.budget.batch_size is not None:
        return config.budget.batch_size
    accumulation = int(config.training.get(_ACCUMULATION, 1))
    return per_device(config) * accumulation * num_ranks


def training_arguments(config: Config, num_ranks: int = 1) -> dict[str, Any]:
    """``training`` with the accumulation that gives ``budget.batch_size`` on so many processes.

    One process has nothing to shard: it goes without FSDP.

    Args:
        config: As resolved.
        num_ranks: Processes that train.

    Raises:
        InputError: If they cannot share the samples of a step evenly, or would shard a model that
            the policy needs whole.
    """
    arguments = _with_batch(config, batch_size(config, num_ranks), num_ranks)
    if sharding.shards(arguments):
        sharding.check_policy(config.mixture)
    return arguments


def arguments_of_first_rank(config: Config, num_ranks: int) -> dict[str, Any]:
    """``training`` for a training that the first of several processes does by itself.

    It has the same batches as that of all processes has, one micro-batch after the other.
    """
    return _with_batch(config, batch_size(config, num_ranks), 1)


def _with_batch(config: Config, samples: int, num_ranks: int) -> dict[str, Any]:
    at_once = per_device(config)
    accumulation, rest = divmod(samples, at_once * num_ranks)
    if rest or accumulation == 0:
        processes = "one process" if num_ranks == 1 else f"{num_ranks} processes"
        raise InputError(
            f"budget.batch_size: {samples} samples cannot be dealt to {processes} in micro-batches "
            f"of {at_once} (training.{_PER_DEVICE}); make it a multiple of "
            f"{at_once * num_ranks}."
        )
    arguments = {**config.training, _ACCUMULATION: accumulation}
    if num_ranks == 1:
        return {name: value for name, value in arguments.items() if name not in sharding.ARGUMENTS}
    return arguments


def per_device(config: Config) -> int:
    """Samples of one forward and backward pass on one process.

    Args:
        config: As resolved.
    """
    return int(config.training.get(_PER_DEVICE, _DEFAULT_PER_DEVICE))
