import numpy as np
import pytest
import torch

from dids.sampling import MixtureBatchSampler, MixtureLog, MixtureSampler, apply_lag, forecast


def sampler_of(batch_size=8):
    return MixtureSampler(
        [np.arange(0, 30), np.arange(30, 50)],
        np.full(50, 7),
        batch_size=batch_size,
        seed=4,
        max_repeats=[None, None],
        mixture=[0.4, 0.6],
    )


@pytest.mark.parametrize(
    ("micro_batch_size", "accumulation"), [(8, 1), (4, 2), (2, 4), (1, 8), (4, 1)]
)
def test_a_step_has_the_same_samples_however_it_is_cut(micro_batch_size, accumulation):
    batches = MixtureBatchSampler(sampler_of(), micro_batch_size, accumulation, num_steps=5)
    flat = [sample for batch in batches for sample in batch]
    assert flat == [int(i) for step in range(5) for i in sampler_of().plan(step)]
    assert len(list(batches)) == len(batches)
    assert all(len(batch) == micro_batch_size for batch in batches)


def test_starting_late_skips_the_steps_before():
    whole = list(MixtureBatchSampler(sampler_of(), 4, 2, num_steps=6))
    assert list(MixtureBatchSampler(sampler_of(), 4, 2, num_steps=6, start_step=2)) == whole[4:]


def test_replayed_steps_are_counted_through_and_not_planned():
    whole, resumed = sampler_of(), sampler_of()
    whole.plan(20)
    resumed.load_state_dict(whole.state_dict(3))
    batches = MixtureBatchSampler(resumed, 4, 2, num_steps=6)
    batches.num_replayed = 3
    stream = iter(batches)
    for _ in range(3 * 2):
        assert next(stream) == [0] * 4
    assert resumed.num_planned_steps == 3
    assert list(stream) == list(MixtureBatchSampler(whole, 4, 2, num_steps=6))[3 * 2 :]
    assert len(list(batches)) == len(batches) == 6 * 2


def test_a_replay_that_nobody_announced_is_refused():
    whole, resumed = sampler_of(), sampler_of()
    resumed.load_state_dict(whole.state_dict(3))
    with pytest.raises(ValueError, match="step 0 was asked for, but this run begins with step 3"):
        next(iter(MixtureBatchSampler(resumed, 4, 2, num_steps=6)))


def test_nothing_is_planned_before_it_is_asked_for():
    sampler = sampler_of()
    batches = iter(MixtureBatchSampler(sampler, 4, 2, num_steps=100))
    for _ in range(3):
        next(batches)
    assert sampler.num_planned_steps == 2


@pytest.mark.parametrize("accumulation", [1, 2, 4])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_reads_no_further_ahead_than_the_lag(num_workers, accumulation):
    sampler = sampler_of(batch_size=2 * accumulation)
    loader = torch.utils.data.DataLoader(
        torch.arange(50),
        batch_sampler=MixtureBatchSampler(sampler, 2, accumulation, num_steps=20),
        num_workers=num_workers,
    )
    lag = apply_lag(num_workers, 2, accumulation)
    for number, _ in enumerate(loader):
        step = number // accumulation
        # Accelerate holds one more micro-batch than the loader itself.
        assert sampler.num_planned_steps <= step + 1 + lag


def test_a_batch_size_that_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="8 is no multiple of 3 x 1"):
        MixtureBatchSampler(sampler_of(), 3, 1, num_steps=2)


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_that_there_is_not_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank must be from 0 to 1, but it is {rank}"):
        MixtureBatchSampler(sampler_of(), 2, 1, num_steps=2, rank=rank, world_size=2)


def test_the_later_of_two_entries_for_a_step_holds_and_the_log_survives_json():
    log = MixtureLog([0.5, 0.5])
    log.append(3, [0.1, 0.9])
    log.append(3, [0.2, 0.8])
    log = MixtureLog.from_json(log.to_json())
    assert [log.mixture(step)[0] for step in (0, 2, 3, 9)] == [0.5, 0.5, 0.2, 0.2]
    np.testing.assert_allclose(log.steps_asked(5), [0.5 * 3 + 0.2 * 2, 0.5 * 3 + 0.8 * 2])
    with pytest.raises(ValueError, match="cannot start at step 2"):
        log.append(2, [0.5, 0.5])


def test_a_log_that_forgets_says_so():
    log = MixtureLog([0.5, 0.5])
    log.append(3, [0.1, 0.9])
    log.append(7, [0.3, 0.7])
    late = log.since(5)
    assert [step for step, _ in late.entries] == [3, 7]
    assert late.mixture(6)[0] == 0.1
    with pytest.raises(ValueError, match="step 2 is not known; the log begins with step 3"):
        late.mixture(2)
    assert [log.num_steps_alike(step, 4) for step in (0, 2, 3, 7)] == [3, 1, 4, 4]


def test_the_forecast_is_what_the_sampler_then_does():
    sizes, caps, mixture = [6, 100, 40], [1, None, 0], [0.5, 0.3, 0.2]
    sampler = MixtureSampler(
        np.split(np.arange(146), [6, 106]),
        np.full(146, 1),
        batch_size=8,
        seed=0,
        max_repeats=caps,
        mixture=mixture,
    )
    forecasts = forecast(sizes, caps, mixture, 8, 30)
    np.testing.assert_allclose([f.samples for f in forecasts], sampler.draws_by_domain(30), atol=2)
    assert forecasts[0].cap_reached_at_step == 3
    assert forecasts[1].cap_reached_at_step is None


@pytest.mark.parametrize("unit", ["samples", "tokens"])
@pytest.mark.parametrize("begins_at", [0, 7])
def test_the_forecast_follows_the_schedule_and_goes_on_in_mid_run(unit, begins_at):
    sizes, lengths = [60, 200, 90], np.repeat([4, 8, 16], [60, 200, 90])

    def sampler():
        made = MixtureSampler(
            [range(60), range(60, 260), range(260, 350)], lengths, batch_size=16, seed=0,
            max_repeats=[1, None, 0], mixture=[0.5, 0.3, 0.2], unit=unit,
        )  # fmt: skip
        made.set_mixture([0.0, 0.5, 0.5], 12)
        made.set_mixture([0.9, 0.1, 0.0], 30)
        made.set_mixture([0.5, 0.5, 0.0], 31)
        return made

    whole, asked = sampler(), sampler()
    if begins_at:
        asked.load_state_dict(sampler().state_dict(begins_at))
    found = asked.forecast(60)
    np.testing.assert_allclose([f.samples for f in found], whole.draws_by_domain(60), atol=3)
    for domain, (capacity, cap) in enumerate([(120, 1), (None, None), (90, 0)]):
        if cap is None:
            assert found[domain].cap_reached_at_step is None
            continue
        # The step in which the sampler gave the domain's last sample, or the one behind it.
        last = next(t for t in range(61) if whole.draws_by_domain(t)[domain] == capacity)
        assert found[domain].cap_reached_at_step in range(last - 2, last + 2)
        assert found[domain].epochs == capacity / sizes[domain]
    assert asked.num_planned_steps == begins_at


def test_a_stopping_domain_that_is_empty_ends_the_run_at_once():
    ends = forecast([0, 9], [0, None], [0.5, 0.5], 4, 10, at_end=["stop", "renormalise"])
    assert ends[0].sentence("web") == "web: 0.0 epochs, cap reached at step 0, which ends the run"
    assert ends[1].samples == 0
