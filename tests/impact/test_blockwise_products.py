"""The products of one walk over the parameters, by value against each written out in float64."""

from dataclasses import replace

import pytest
import torch

from dids.gradients.coordinates import Slot
from dids.gradients.sample_rows import GroupSample
from dids.gradients.statistics import GradientStatistics
from dids.impact import blockwise_products
from dids.impact.blockwise_products import OF_FISHER, MeasuredGradient, step_products
from dids.impact.preconditioner import Preconditioner

NUM = 1000
ROWS = (3, 0, 4)  # kept samples of the domains


def gradient(generator, num_rows, *, with_squares):
    def random(*shape):
        return torch.randn(*shape, generator=generator)

    mean = GradientStatistics(
        halves_2p=random(2, NUM),
        weight_2=torch.tensor([3.0, 2.0]),
        square_p=random(NUM).square() if with_squares else None,
        losses_n=torch.zeros(0),
        num_samples=5,
    )
    rows = random(num_rows, NUM).bfloat16()
    return MeasuredGradient(mean, GroupSample(rows, torch.ones(num_rows), 5, 5.0))


def preconditioner(generator, kind):
    if kind == "sgd":
        return Preconditioner()
    scale_p = torch.rand(NUM, generator=generator) + 0.1
    if kind == "adam":
        return Preconditioner(scale_p)
    root_oo = torch.randn(8, 8, generator=generator)
    scale_p[200:520] = 0.5  # of a matrix under Muon: its learning rate
    return Preconditioner(scale_p, {Slot(200, 520, (8, 40), None): root_oo @ root_oo.T})


@pytest.mark.parametrize("kind", ["sgd", "adam", "muon"])
@pytest.mark.parametrize("within", ["damped", "fisher", "step", "plain"])
def test_every_product_is_the_one_that_its_definition_says(monkeypatch, within, kind):
    monkeypatch.setattr(blockwise_products, "_CPU_ENTRIES", 1)  # 256 parameters a block
    generator = torch.Generator().manual_seed(3)
    domains = [gradient(generator, rows, with_squares=False) for rows in ROWS]
    tasks = [gradient(generator, rows, with_squares=True) for rows in (5, 2)]
    tasks[1] = MeasuredGradient(tasks[1].mean, None)
    weight_p = torch.rand(NUM, generator=generator) + 0.5
    own = preconditioner(generator, kind)
    found = step_products(domains, tasks, within=within, preconditioner=own, weight_p=weight_p)

    if within == "plain":
        own = Preconditioner()
    wide = Preconditioner(None if own.scale_p is None else own.scale_p.double(), own.root_by_slot)
    step = wide.times if within in OF_FISHER else wide.root_times
    update_kp = step(torch.stack([each.mean.mean_p for each in domains]).double())
    for t, task in enumerate(tasks):
        metric_p = weight_p.double()
        slope_p = metric_p  # the derivative of the metric by a square
        if within in OF_FISHER:
            square_p = task.mean.square_p.double()
            kept_p = torch.ones_like(square_p)
            if within == "damped" and wide.scale_p is not None:
                moment_p = wide.scale_p**-2
                kept_p = moment_p / (moment_p + square_p / 16)
            metric_p, slope_p = metric_p * square_p * kept_p, slope_p * kept_p**2
        own_p = step(task.mean.mean_p.double())
        first_p, second_p = step(task.mean.halves_2p.double())

        def close(value, expected):
            rounding = 2e-6 * float(expected.abs().max())
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=rounding)

        close(found.gram_tkk[t], (update_kp * metric_p) @ update_kp.T)
        close(found.kernel_kt[:, t], update_kp @ (metric_p * own_p))
        close(found.target_norm_t[t], own_p @ (metric_p * own_p))
        close(found.target_signal_t[t], first_p @ (metric_p * second_p))
        halves = [step(each.mean.halves_2p.double()) for each in domains]
        signal_k = torch.stack([one @ (metric_p * other) for one, other in halves])
        close(found.signal_tk[t], signal_k)
        rows_rp = torch.cat([step(each.sample.row_rp.double()) for each in domains])
        close(found.along_rt[:, t], rows_rp @ (metric_p * own_p))
        if task.sample is None:
            assert len(found.influence[t]) == 0
            continue
        row_mp = task.sample.row_rp.double()
        influence_mk = step(row_mp) @ (metric_p * update_kp).T
        if within in OF_FISHER:  # the metric is a mean over the same samples
            influence_mk += row_mp.square() @ (slope_p * own_p * update_kp).T
        close(found.influence[t], influence_mk)


def test_float64_gradients_keep_their_digits_and_nobody_needs_a_sample():
    generator = torch.Generator().manual_seed(4)

    def wide(num_rows, *, with_squares=False):
        measured = gradient(generator, num_rows, with_squares=with_squares)
        mean = measured.mean
        halves_2p = mean.halves_2p.double() / 3
        square_p = None if mean.square_p is None else mean.square_p.double() / 3
        return MeasuredGradient(
            replace(mean, halves_2p=halves_2p, weight_2=mean.weight_2.double(), square_p=square_p),
            measured.sample,
        )

    domains, tasks = [wide(3), wide(2)], [wide(4, with_squares=True)]
    kept = {"within": "fisher", "preconditioner": Preconditioner(), "weight_p": torch.ones(NUM)}
    found = step_products(domains, tasks, **kept)
    update_kp = torch.stack([each.mean.mean_p for each in domains])
    own_p, square_p = tasks[0].mean.mean_p, tasks[0].mean.square_p
    row_rp = torch.cat([each.sample.row_rp for each in domains]).double()
    row_mp = tasks[0].sample.row_rp.double()
    influence_mk = (row_mp * square_p + row_mp.square() * own_p) @ update_kp.T
    exactly = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(found.gram_tkk[0], (update_kp * square_p) @ update_kp.T, **exactly)
    torch.testing.assert_close(found.along_rt[:, 0], row_rp @ (square_p * own_p), **exactly)
    torch.testing.assert_close(found.influence[0], influence_mk, **exactly)

    domains, tasks = ([MeasuredGradient(each.mean, None) for each in of] for of in (domains, tasks))
    without = step_products(domains, tasks, **kept)
    assert without.along_rt.shape == (0, 1) and without.influence[0].shape == (0, 2)
    torch.testing.assert_close(without.gram_tkk, found.gram_tkk, rtol=0, atol=0)


def test_a_fisher_information_that_cannot_be_one_is_refused():
    generator = torch.Generator().manual_seed(0)
    domains = [gradient(generator, 2, with_squares=False)]
    kept = {"within": "fisher", "preconditioner": Preconditioner(), "weight_p": torch.ones(NUM)}
    with pytest.raises(ValueError, match="squared gradients are needed"):
        step_products(domains, domains, **kept)
    task = gradient(generator, 2, with_squares=True)
    for wrong in (-1.0, torch.nan):
        task.mean.square_p[7] = wrong
        with pytest.raises(ValueError, match="zero or more"):
            step_products(domains, [task], **kept)
