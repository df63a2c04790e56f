"""A policy that asks for it makes mixtures within rounds, from what training itself shows."""

import numpy as np
import pytest
import torch
from tiny_rounds import tiny_rounds, trained
from tiny_trainer import concatenated, pad, tiny_model
from torch.nn.functional import cross_entropy

from dids.mixture.policy import Needs, PolicyDecision
from dids.training.domain_losses import DomainLosses, kept_nll, predicted_nll
from dids.training.round_plan import RoundPlan


class Watching:
    """Keeps what it sees; the first domain's share grows by a tenth every time."""

    needs_impact = False

    def __init__(self, **needs):
        self.needs = Needs(**needs)
        self.seen = []

    def mixture(self, observation):
        self.seen.append(observation)
        share = min(0.8, 0.1 * len(self.seen))
        return PolicyDecision(np.array([share, (1 - share) / 2, (1 - share) / 2]))

    def regroup(self, regrouping):
        raise AssertionError

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def watched(tmp_path, **needs):
    rounds = tiny_rounds(policy=Watching(**needs))
    rounds.sampler.set_mixture(rounds.first_mixture(), 0)
    trained(tmp_path, rounds)
    return rounds


def test_a_policy_is_asked_every_so_many_steps_and_at_the_ends_of_rounds(tmp_path):
    rounds = watched(tmp_path, every_steps=3)
    assert [seen.step for seen in rounds.policy.seen] == [0, 3, 4, 6]
    assert [seen.progress for seen in rounds.policy.seen] == [0, 3 / 8, 0.5, 0.75]
    assert all(seen.trained is None for seen in rounds.policy.seen)
    starts = [entry["step"] for entry in rounds.history.mixture]
    assert starts == [0, 4, 5, 7]  # one step later, which the loader has read ahead
    shares = [entry["probability"]["web"] for entry in rounds.history.mixture]
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.3, 0.4], rtol=1e-3)  # ten bits


def test_tasks_are_looked_at_within_rounds_only_where_that_is_asked_for(tmp_path):
    plain = watched(tmp_path / "plain", every_steps=3)
    looking = watched(tmp_path / "looking", every_steps=3, task_losses=True)
    assert len(plain.history.task_losses["sums"]) == 3  # at the start, a round's end, the end
    assert len(looking.history.task_losses["sums"]) == 5


def test_what_was_trained_on_since_the_last_time_is_shown(tmp_path, monkeypatch):
    collated = []

    def recording(items):
        collated.extend(item["input_ids"] for item in items)
        return pad(items)

    monkeypatch.setattr("tiny_rounds.pad", recording)
    rounds = watched(tmp_path, every_steps=2, training_losses=True)
    first, *later = rounds.policy.seen
    assert first.trained is None
    for before, seen in zip(rounds.policy.seen, later, strict=False):
        scored_k = np.zeros(3)
        for row in collated[8 * before.step : 8 * seen.step]:
            scored_k[rounds.domain_of_sample[row[0]]] += len(row) - 1
        np.testing.assert_allclose(seen.trained.tokens_k, scored_k)
        assert (np.abs(seen.trained.loss_k[scored_k > 0] - 5) < 2).all()
        assert seen.trained.excess_k is None
        assert seen.trained.confidence_k is None


def test_excess_is_clipped_token_by_token_and_confidence_is_the_likeliest_tokens():
    model, reference = tiny_model(dropout=0.0), tiny_model(dropout=0.0)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator()))
    batch = pad([concatenated()[i] for i in (0, 7, 41)])
    losses = DomainLosses(2)
    losses.reference, losses.with_confidence = reference, True
    with losses.recording(model, batch, torch.tensor([0, 1, 1])):
        model(**batch)
    seen = losses.trained_since_last("test")
    assert losses.elapsed_s > 0
    for domain, rows in enumerate([[0], [1, 2]]):
        nll, excess, sure = [], [], []
        for row in rows:
            for place in range(batch["input_ids"].shape[1] - 1):
                target = batch["labels"][row, place + 1]
                if target == -100:
                    continue
                logits, others = (
                    m(**batch).logits[row, place].double() for m in (model, reference)
                )
                nll.append(cross_entropy(logits, target).item())
                excess.append(max(0.0, nll[-1] - cross_entropy(others, target).item()))
                sure.append(logits.softmax(0).max().item())
        assert len(nll) == seen.tokens_k[domain]
        assert 0 < np.mean(excess) != pytest.approx(np.mean(nll))
        assert seen.loss_k[domain] == pytest.approx(np.mean(nll), rel=1e-5)
        assert seen.excess_k[domain] == pytest.approx(np.mean(excess), rel=1e-4)
        assert seen.confidence_k[domain] == pytest.approx(np.mean(sure), rel=1e-5)


@pytest.mark.parametrize("num_items", [None, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_are_those_that_the_models_own_loss_keeps(num_items, dtype):
    model, batch = tiny_model(dropout=0.0), pad([concatenated()[i] for i in (0, 7, 41)])
    batch["labels"][1, :3] = -100
    target_bt = pad_left(batch["labels"])
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        output = model(**batch, num_items_in_batch=num_items and torch.tensor(num_items))
    kept, computed = kept_nll(output, target_bt), predicted_nll(output, target_bt)
    flat = output.logits.float().flatten(0, 1)
    output.loss = cross_entropy(flat, target_bt.flatten(), label_smoothing=0.1)
    torch.testing.assert_close(kept_nll(output, target_bt), kept)  # without what smoothing adds
    is_scored = target_bt != -100
    assert 3 < int(is_scored.sum()) < is_scored.numel()
    torch.testing.assert_close(kept[is_scored], computed[is_scored])
    assert (kept[~is_scored] == 0.0).all()


def pad_left(labels_bt):
    return torch.nn.functional.pad(labels_bt[:, 1:], (0, 1), value=-100)


def test_a_loss_that_keeps_something_else_is_computed_again():
    model, batch = tiny_model(dropout=0.0), pad([concatenated()[i] for i in (0, 7)])
    target_bt = pad_left(batch["labels"])
    output = model(**batch)
    flat = output.logits.flatten(0, 1)
    others = {
        "weighted": cross_entropy(flat, target_bt.flatten(), weight=torch.ones(flat.shape[1])),
        "a part": cross_entropy(output.logits[:, :-1].flatten(0, 1), target_bt[:, :-1].flatten()),
        "another": output.logits.sum(),
        "without a graph": output.loss.detach(),
        "none": None,
    }
    for loss in others.values():
        output.loss = loss
        assert kept_nll(output, target_bt) is None
        losses = DomainLosses(2)
        losses._add(output, batch, target_bt, torch.tensor([0, 1]))
        expected = predicted_nll(output, target_bt)[0][target_bt[0] != -100].double().sum()
        assert float(losses.total()[0, 0]) == pytest.approx(float(expected), rel=1e-6)


def test_sums_of_before_are_taken_up():
    losses = DomainLosses(2)
    losses.load_state_dict(
        {"total": [[4.0, 2.0], [0.0, 0.0]], "read_at": {"log": [[1.0, 1.0]] * 2}}
    )
    assert losses.total().tolist() == [[4.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    assert losses.means_since_last("log") == [3.0, None]


def test_a_long_run_has_no_more_mixtures_than_it_can_remember():
    steps = RoundPlan(None, 10, 1, nominal_steps=123_456).steps_between(1)
    assert 1000 < 123_456 / steps <= 2000
