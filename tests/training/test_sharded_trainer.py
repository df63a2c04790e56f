"""A Trainer of one's own with sharded parameters (FSDP2): the same samples, the same losses."""

import os

import pytest
import torch
from ranks import on_ranks
from tiny_trainer import LATER, SIZES, START, Recording, concatenated, tiny_trainer

from dids.gradients.shards import is_sharded
from dids.training import DomainMixture, PolicyMixture
from dids.training.sharding import ShardingTrainer


class TinyShardingTrainer(Recording, ShardingTrainer):
    pass


def trained(folder, fsdp):
    def policy(view):
        return LATER if view.step == 4 and min(view.losses.values()) > 0.0 else None

    mixture = DomainMixture(START, SIZES, policy=policy, every_steps=2)
    trainer = tiny_trainer(
        folder, mixture, trainer=TinyShardingTrainer, dropout=0.0, fsdp=fsdp, save_strategy="no",
        per_device_train_batch_size=2,
    )  # fmt: skip
    trainer.train()
    assert is_sharded(trainer.model) == fsdp
    assert "ACCELERATE_USE_FSDP" not in os.environ  # what comes next may be whole
    losses = torch.tensor([list(trainer.step_losses.values())])
    torch.distributed.all_reduce(losses)
    usage = {name: domain.samples for name, domain in mixture.usage().items()}
    return {"seen": trainer.seen, "losses": losses[0].tolist(), "usage": usage}


def test_samples_and_losses_are_those_of_whole_parameters(tmp_path):
    whole = on_ranks(tmp_path / "whole", 2, trained, tmp_path, False)
    sharded = on_ranks(tmp_path / "sharded", 2, trained, tmp_path, True)
    for one, other in zip(whole, sharded, strict=True):
        assert one["seen"] == other["seen"]
        assert one["usage"] == other["usage"]
        assert one["losses"] == pytest.approx(other["losses"], rel=1e-5)
    assert sharded[0]["usage"]["code"] > sharded[0]["usage"]["junk"]  # the mixture did change


class MeanOfItsMicroBatch(TinyShardingTrainer):
    """Takes no notice of ``num_items_in_batch``, which is found out by asking it twice."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return model(**inputs).loss


def measured(folder, fsdp, trainer=TinyShardingTrainer):
    trainer = tiny_trainer(
        folder, PolicyMixture(SIZES, rounds=4, overhead=0.5), trainer=trainer,
        dropout=0.0, fsdp=fsdp, save_strategy="no", per_device_train_batch_size=2,
        eval_dataset={"sums": concatenated().select(range(20))}, adam_epsilon=1e-5,
    )  # fmt: skip
    trainer.train()
    assert is_sharded(trainer.model) == fsdp
    history = trainer.mixture.history
    return {
        "shares": [list(entry["probability"].values()) for entry in history.mixture],
        "kernels": [[d["sums"] for d in entry["kernel"].values()] for entry in history.impact],
    }


@pytest.mark.parametrize("trainer", [TinyShardingTrainer, MeanOfItsMicroBatch])
def test_impact_is_that_of_whole_parameters(tmp_path, trainer):
    whole, whole_too = on_ranks(tmp_path / "whole", 2, measured, tmp_path, False, trainer)
    sharded, sharded_too = on_ranks(tmp_path / "sharded", 2, measured, tmp_path, True, trainer)
    assert whole == whole_too
    assert sharded["shares"] == sharded_too["shares"]
    assert len(whole["kernels"]) > 1
    torch.testing.assert_close(
        torch.tensor(sharded["kernels"]), torch.tensor(whole["kernels"]), rtol=1e-2, atol=1e-5
    )
    torch.testing.assert_close(
        torch.tensor(sharded["shares"]), torch.tensor(whole["shares"]), rtol=0.0, atol=4e-3
    )
