"""Fisher information of few samples leans on what all tasks have in common."""

import pytest
import torch

from dids.impact.shrunk_fisher import PRIOR_SAMPLES, ShrunkFisher


def squares(generator, num_tasks=4, num_entries=3000):
    """The truth: common to all tasks up to a factor of their own and some of each one's."""
    common_p = torch.rand(num_entries, generator=generator).double() ** 4
    own_tp = 0.5 + torch.rand(num_tasks, num_entries, generator=generator).double()
    return common_p * own_tp * torch.tensor([1.0, 10.0, 1e4, 1e-3]).double()[:num_tasks, None]


def test_few_samples_come_nearer_to_the_truth():
    generator = torch.Generator().manual_seed(0)
    truth_tp = squares(generator)
    for num_samples in (2, 8, 64):
        shape = (num_samples, *truth_tp.shape)
        drawn = torch.randn(shape, generator=generator).double() * truth_tp.sqrt()
        raw_tp = drawn.square().mean(0)
        shrunk_tp = torch.stack(ShrunkFisher.of(list(raw_tp), [num_samples] * 4).square_t)
        error_t, raw_error_t = (
            ((found_tp - truth_tp) ** 2).mean(1).sqrt() / truth_tp.mean(1)
            for found_tp in (shrunk_tp, raw_tp)
        )
        assert bool((error_t < raw_error_t).all()), num_samples


def test_many_samples_are_left_to_themselves_and_so_is_a_single_task():
    truth_tp = squares(torch.Generator().manual_seed(1))
    found = ShrunkFisher.of(list(truth_tp), [10**9] * 4)
    torch.testing.assert_close(torch.stack(found.square_t), truth_tp, rtol=1e-5, atol=0)
    assert found.own_t == pytest.approx([1.0] * 4)
    alone = ShrunkFisher.of([truth_tp[0]], [2])
    assert alone.square_t[0] is truth_tp[0] or torch.equal(alone.square_t[0], truth_tp[0])
    assert alone.own_t == [1.0]


def test_longer_gradients_of_one_task_change_its_own_information_alone_and_by_their_square():
    truth_tp = squares(torch.Generator().manual_seed(2))
    before = ShrunkFisher.of(list(truth_tp), [4] * 4).square_t
    truth_tp[2] *= 9.0
    after = ShrunkFisher.of(list(truth_tp), [4] * 4).square_t
    for task, (one_p, other_p) in enumerate(zip(before, after, strict=True)):
        torch.testing.assert_close(other_p, one_p * (9.0 if task == 2 else 1.0))


def test_a_task_without_gradients_tells_the_others_nothing():
    truth_tp = squares(torch.Generator().manual_seed(3))
    nothing_p = torch.zeros_like(truth_tp[0])
    with_it = ShrunkFisher.of([*truth_tp, nothing_p], [4] * 5)
    without = ShrunkFisher.of(list(truth_tp), [4] * 4)
    for one_p, other_p in zip(without.square_t, with_it.square_t[:4], strict=True):
        torch.testing.assert_close(one_p, other_p)
    assert torch.equal(with_it.square_t[4], nothing_p)


def test_what_a_tasks_own_samples_have_of_it_is_its_derivative():
    truth_tp = squares(torch.Generator().manual_seed(4))
    found = ShrunkFisher.of(list(truth_tp), [4] * 4)
    more_tp = truth_tp.clone()
    more_tp[1, 5] += 1e-6 * float(truth_tp[1].mean())  # one entry hardly changes the mean
    changed = ShrunkFisher.of(list(more_tp), [4] * 4).square_t[1][5] - found.square_t[1][5]
    slope = float(changed / (more_tp[1, 5] - truth_tp[1, 5]))
    assert slope == pytest.approx(found.own_t[1], rel=5e-3)
    assert found.own_t[1] == (4 + PRIOR_SAMPLES / 4) / (4 + PRIOR_SAMPLES)
