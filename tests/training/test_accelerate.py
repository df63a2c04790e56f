"""A bare Accelerate loop through the same sampler: it resumes, also on several ranks."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from ranks import on_ranks
from resuming import assert_resumes

from dids.sampling import MixtureBatchSampler, MixtureSampler, apply_lag

BATCH, STEPS, CHANGE = 8, 7, 3


def looped(state_file, stop, resume, accumulation, num_workers):
    """Samples and weights after each step, of this rank; the state is saved after ``stop``."""
    accelerator = Accelerator(gradient_accumulation_steps=accumulation, cpu=True)
    sampler = MixtureSampler(
        [range(30), range(30, 50)], 1, batch_size=BATCH, seed=2, mixture=[0.7, 0.3]
    )
    torch.manual_seed(0)
    model, start = torch.nn.Linear(1, 1), 0
    if resume is not None:
        saved = json.loads(Path(state_file).read_text())
        sampler.load_state_dict(saved["sampler"])
        model.load_state_dict({name: torch.tensor(value) for name, value in saved["model"].items()})
        start = saved["sampler"]["step"]
    micro = BATCH // accumulation // accelerator.num_processes
    batches = MixtureBatchSampler(sampler, micro, accumulation, num_steps=STEPS, start_step=start)
    loader = torch.utils.data.DataLoader(
        torch.arange(50), batch_sampler=batches, num_workers=num_workers
    )
    model, optimizer, loader = accelerator.prepare(
        model, torch.optim.SGD(model.parameters(), 0.1), loader
    )
    samples, weights, step = {}, {}, start
    for number, batch in enumerate(loader, start=1):
        samples.setdefault(step, []).extend(batch.tolist())
        with accelerator.accumulate(model):
            accelerator.backward(model(batch[:, None].float() / 50).square().mean())
            optimizer.step()
            optimizer.zero_grad()
        if number % accumulation == 0:
            plain = accelerator.unwrap_model(model).state_dict()
            weights[step] = plain["weight"].item()
            step += 1
            if step == CHANGE:
                # As for two workers, so that runs with and without them have the same samples.
                sampler.set_mixture([0.0, 1.0], CHANGE + apply_lag(2, 2, accumulation))
            if step == stop and accelerator.is_main_process:
                state = {"sampler": sampler.state_dict(step), "model": plain}
                text = json.dumps(state, default=lambda tensor: tensor.tolist())
                Path(state_file).write_text(text)
    return {"samples": samples, "weights": weights}


@pytest.mark.parametrize("stop", [2, 4])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loop_resumes_with_the_same_samples_and_weights(tmp_path, stop, num_workers):
    def a_run(stop=None, resume=None, num_workers=0):
        return looped(tmp_path / "state.json", stop, resume, 2, num_workers)

    whole, _ = assert_resumes(a_run, stop, num_workers=num_workers)
    assert all(i >= 30 for i in whole["samples"][6])
    assert any(i < 30 for i in whole["samples"][5])


@pytest.mark.parametrize("world_size", [2, 4])
def test_it_goes_on_on_several_ranks(tmp_path, world_size):
    file = str(tmp_path / "state.json")
    whole = looped(file, 4, None, 2, 0)
    found = on_ranks(tmp_path / "ranks", world_size, looped, file, None, 4, 2, 0)
    for step in range(4, STEPS):
        samples = [i for each in found for i in each["samples"][str(step)]]
        assert sorted(samples) == sorted(whole["samples"][step])
        for each in found:
            assert each["weights"][str(step)] == pytest.approx(whole["weights"][step], rel=1e-5)
