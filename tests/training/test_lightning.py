"""Lightning through the same sampler: its checkpoints keep the loader's place."""

import pytest
import torch
from resuming import assert_resumes

from dids.sampling import MixtureLoader, MixtureSampler

lightning = pytest.importorskip("lightning")
pytestmark = pytest.mark.filterwarnings("ignore")


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch):
        if self.trainer.train_dataloader.step == 4 and len(self.seen) % 2 == 1:
            self.trainer.train_dataloader.set_mixture([0.0, 1.0])
        self.seen.append((batch.tolist(), self.layer.weight.item()))
        return self.layer(batch[:, None].float() / 50).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.1)


def fitted(folder, stop=None, resume=None):
    sampler = MixtureSampler(
        [range(30), range(30, 50)], 1, batch_size=8, seed=1, mixture=[0.6, 0.4]
    )
    loader = MixtureLoader(
        torch.arange(50), sampler, micro_batch_size=4, accumulation=2, num_steps=8
    )
    module = Module()
    saving = lightning.pytorch.callbacks.ModelCheckpoint(
        dirpath=folder, every_n_train_steps=stop, save_top_k=-1, filename="{step}"
    )
    trainer = lightning.Trainer(
        max_steps=8, accelerator="cpu", use_distributed_sampler=False, logger=False,
        accumulate_grad_batches=2, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[saving] if stop else [], enable_checkpointing=stop is not None,
    )  # fmt: skip
    trainer.fit(module, loader, ckpt_path=resume)
    return module.seen


@pytest.mark.parametrize("stop", [3, 5])
def test_lightning_resumes_with_the_same_samples_and_weights(tmp_path, stop):
    def a_run(stop=None, resume=None):
        checkpoint = None if resume is None else str(tmp_path / f"step={resume}.ckpt")
        seen = fitted(tmp_path, stop, checkpoint)
        batches = [seen[first : first + 2] for first in range(0, len(seen), 2)]
        return {"batches": dict(enumerate(batches, start=resume or 0))}

    whole, _ = assert_resumes(a_run, stop)
    assert all(i >= 30 for ids, _ in whole["batches"][7] for i in ids)
