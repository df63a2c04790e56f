import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    make_batch,
    sample_of,
    slow_gradients,
    slow_loss,
    tiny_experts,
    tiny_gpt2,
    tiny_llama,
)

from dids.errors import InputError
from dids.gradients import (
    Coordinates,
    fisher_diagonal,
    gradient_statistics,
    layer_gradients,
    sample_losses,
    statistics,
)


def slow_matrix(model, batches, coordinates):
    """Per-sample gradients from a loop, as rows."""
    return torch.stack(
        [
            torch.cat([coordinates.slots[n].select(gradients[n]) for n in coordinates.names])
            for batch in batches
            for gradients in slow_gradients(model, batch)
        ]
    )


def assert_statistics_equal_loop(model, batches, coordinates, **kwargs):
    statistics = gradient_statistics(model, batches, coordinates, **kwargs)
    gradient_np = slow_matrix(model, batches, coordinates)
    close = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(statistics.mean_p, gradient_np.mean(0), **close)
    torch.testing.assert_close(statistics.halves_2p[0], gradient_np[0::2].mean(0), **close)
    odd = gradient_np[1::2]
    expected_odd = odd.mean(0) if len(odd) else torch.zeros_like(gradient_np[0])
    torch.testing.assert_close(statistics.halves_2p[1], expected_odd, **close)
    if kwargs["with_squares"]:
        torch.testing.assert_close(statistics.square_p, gradient_np.square().mean(0), **close)
    else:
        assert statistics.square_p is None
    slow_losses = [
        slow_loss(model.eval(), sample_of(batch, row)).item()
        for batch in batches
        for row in range(len(batch["input_ids"]))
    ]
    torch.testing.assert_close(statistics.losses_n.tolist(), slow_losses)
    assert statistics.num_samples == len(gradient_np)
    return statistics, gradient_np


@pytest.mark.parametrize("with_squares", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("max_coordinates", [None, 300])
def test_statistics_equal_a_loop_over_samples(with_squares, tied, max_coordinates):
    model = tiny_llama(tied=tied, bias=True)
    batches = [make_batch([9, 2, 5], seed=1, prompt=2), make_batch([4, 4], seed=2, vocab=3)]
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates, seed=1)
    assert_statistics_equal_loop(model, batches, coordinates, with_squares=with_squares)


@pytest.mark.parametrize("cached_entries", [1, 100])
@pytest.mark.parametrize(
    "make", [tiny_llama, tiny_gpt2, lambda: tiny_llama(tied=False, bias=True), tiny_experts]
)
def test_rows_that_are_squared_some_at_a_time_equal_a_loop(make, cached_entries, monkeypatch):
    model, batches = make(), [make_batch([9, 2, 5], seed=1), make_batch([4, 4], vocab=3)]
    monkeypatch.setattr(statistics, "_CACHED_ENTRIES", cached_entries)
    monkeypatch.setattr(statistics, "_WIDE", 0)  # no columns first
    gradient_np = slow_matrix(model, batches, coordinates := Coordinates.of(model))
    found = gradient_statistics(model, batches, coordinates, with_squares=True)
    torch.testing.assert_close(found.square_p, gradient_np.square().mean(0))
    torch.testing.assert_close(found.halves_2p[0], gradient_np[0::2].mean(0))
    alone = fisher_diagonal(model, batches, coordinates)
    torch.testing.assert_close(alone, found.square_p)


@pytest.mark.parametrize("with_squares", [True, False])
def test_statistics_equal_a_loop_with_convolutions_layer_norms_and_positions(with_squares):
    model = tiny_gpt2()
    batches = [make_batch([6, 3, 4])]
    assert_statistics_equal_loop(model, batches, Coordinates.of(model), with_squares=with_squares)


@settings(max_examples=10)
@given(
    lengths=st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=4), min_size=1, max_size=3)
)
def test_statistics_are_right_for_any_shape(lengths):
    model = tiny_llama()
    batches = [make_batch(rows, seed=n) for n, rows in enumerate(lengths)]
    assert_statistics_equal_loop(model, batches, Coordinates.of(model), with_squares=True)


def test_means_by_tokens_equal_the_gradient_of_the_mean_over_tokens():
    model = tiny_llama()
    batches = [make_batch([9, 2, 5], seed=1, prompt=2), make_batch([4, 7], seed=2)]
    coordinates = Coordinates.of(model)
    statistics = gradient_statistics(
        model, batches, coordinates, with_squares=False, by_tokens=True
    )
    gradient_np = slow_matrix(model, batches, coordinates)
    # Llama's norms work in float32, where a loss that is scaled rounds otherwise.
    close = {"rtol": 1e-4, "atol": 1e-6}
    weight_n1 = torch.cat(
        [(batch["labels"][:, 1:] != -100).sum(1, keepdim=True) for batch in batches]
    ).to(gradient_np)
    expected_p = (weight_n1 * gradient_np).sum(0) / weight_n1.sum()
    torch.testing.assert_close(statistics.mean_p, expected_p, **close)
    for half in (0, 1):
        weight_m1, gradient_mp = weight_n1[half::2], gradient_np[half::2]
        expected_p = (weight_m1 * gradient_mp).sum(0) / weight_m1.sum()
        torch.testing.assert_close(statistics.halves_2p[half], expected_p, **close)


def test_squares_by_tokens_are_refused():
    model = tiny_llama()
    with pytest.raises(ValueError, match="means over samples"):
        gradient_statistics(
            model, [make_batch([4])], Coordinates.of(model), with_squares=True, by_tokens=True
        )


def test_fisher_is_not_the_square_of_the_batch_mean():
    # The released code squared a batch-mean gradient: about 1/200 of the scale at its batch size.
    model = tiny_llama()
    batch = make_batch([8] * 16)
    statistics = gradient_statistics(model, [batch], Coordinates.of(model), with_squares=True)
    of_the_mean = statistics.mean_p.square()
    assert of_the_mean.sum() < 0.5 * statistics.square_p.sum()
    assert not torch.allclose(of_the_mean, statistics.square_p, rtol=0.1)


def test_fisher_does_not_depend_on_the_batch_size():
    model, batch = tiny_llama(), make_batch([6] * 6)
    coordinates = Coordinates.of(model)
    ones = [sample_of(batch, row) for row in range(6)]
    one = gradient_statistics(model, [batch], coordinates, with_squares=True)
    other = gradient_statistics(model, ones, coordinates, with_squares=True)
    torch.testing.assert_close(one.square_p, other.square_p)
    torch.testing.assert_close(one.halves_2p, other.halves_2p)


def test_true_fisher_is_the_expectation_over_the_models_own_labels():
    model = tiny_llama()
    sample = make_batch([2], prompt=1)
    coordinates = Coordinates.of(model)
    probability_v = model(input_ids=sample["input_ids"]).logits[0, 0].detach().softmax(-1)
    expected = torch.zeros(coordinates.size, dtype=torch.float64)
    for label, probability in enumerate(probability_v):
        labelled = {**sample, "labels": torch.tensor([[-100, label]])}
        expected += probability * slow_matrix(model, [labelled], coordinates)[0].square()
    many = {name: tensor.expand(1000, -1) for name, tensor in sample.items()}
    statistics = gradient_statistics(
        model,
        [many],
        coordinates,
        with_squares=True,
        labels="model",
        generator=torch.Generator().manual_seed(0),
    )
    assert abs(statistics.square_p.sum() / expected.sum() - 1) < 0.1
    # The score of the model's own labels has mean zero, and losses stay those of the data.
    assert statistics.mean_p.square().sum() < 0.01 * expected.sum()
    torch.testing.assert_close(
        statistics.losses_n[0].item(), slow_loss(model, sample_of(sample, 0)).item()
    )


def test_padding_never_counts_in_fisher():
    model, coordinates = tiny_llama(), None
    coordinates = Coordinates.of(model)
    short, wide = make_batch([5]), make_batch([5], pad_to=11)
    wide["input_ids"][:, :5], wide["labels"][:, :5] = short["input_ids"], short["labels"]
    one = gradient_statistics(model, [short], coordinates, with_squares=True)
    other = gradient_statistics(model, [wide], coordinates, with_squares=True)
    torch.testing.assert_close(one.square_p, other.square_p)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("max_coordinates", [None, 300])
def test_the_fisher_diagonal_alone_equals_a_loop_over_samples(tied, max_coordinates):
    model = tiny_llama(tied=tied, bias=True)
    batches = [make_batch([9, 2, 5], seed=1, prompt=2), make_batch([4, 4], seed=2, vocab=3)]
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates, seed=1)
    expected = slow_matrix(model, batches, coordinates).square().mean(0)
    found = fisher_diagonal(model, batches, coordinates)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    drawn = fisher_diagonal(
        model, batches, coordinates, labels="model", generator=torch.Generator().manual_seed(1)
    )
    both = gradient_statistics(
        model,
        batches,
        coordinates,
        with_squares=True,
        labels="model",
        generator=torch.Generator().manual_seed(1),
    )
    torch.testing.assert_close(drawn, both.square_p, rtol=1e-12, atol=0.0)


def test_layers_that_never_meet_the_loss_have_neither_mean_nor_fisher():
    # Sums begin in memory that was somebody else's.
    model = tiny_llama()
    model.aside = torch.nn.Linear(50, 60).double()
    coordinates, batch = Coordinates.of(model), make_batch([5, 4])
    statistics = gradient_statistics(model, [batch], coordinates, with_squares=True)
    fisher_p = fisher_diagonal(model, [batch], coordinates)
    for name in ("aside.weight", "aside.bias"):
        slot = coordinates.slots[name]
        for found_p in (statistics.mean_p, statistics.square_p, fisher_p):
            assert not found_p[slot.start : slot.stop].any()


def test_under_bfloat16_autocast_gradients_are_summed_and_squared_in_float32():
    model, batch = tiny_llama(double=False).eval(), make_batch([10, 30])
    coordinates, uses = Coordinates.of(model), []
    with torch.autocast("cpu", torch.bfloat16):
        found = gradient_statistics(model, [batch], coordinates, with_squares=True)
        with layer_gradients(model, uses.append):
            sample_losses(model, batch).sum().backward()
    assert found.mean_p.dtype == found.square_p.dtype == torch.float32
    for layer in uses:
        if layer.num_uses > 1 or "proj" not in layer.name:
            continue
        slot = coordinates.slots[layer.name]
        gradient_boi = layer.left_bto.double().transpose(1, 2) @ layer.right_bti.double()
        for sums_p, expected in (
            (found.mean_p, gradient_boi.mean(0)),
            (found.square_p, gradient_boi.square().mean(0)),
        ):
            scale = float(expected.abs().max())
            close = {"rtol": 1e-5, "atol": 1e-6 * scale}  # bfloat16 would be off by 4e-3
            torch.testing.assert_close(
                sums_p[slot.start : slot.stop].view(slot.shape).double(), expected, **close
            )


def test_no_samples_and_diverged_models_are_told():
    model = tiny_llama()
    coordinates = Coordinates.of(model)
    with pytest.raises(InputError, match="at least one sample"):
        gradient_statistics(model, [], coordinates, with_squares=False)
    with pytest.raises(InputError, match="at least one sample"):
        fisher_diagonal(model, [], coordinates)
    with torch.no_grad():
        model.lm_head.weight[3, 0] = torch.inf
    with pytest.raises(InputError, match="not finite"):
        gradient_statistics(model, [make_batch([4])], coordinates, with_squares=False)
    with pytest.raises(InputError, match="not finite"):
        fisher_diagonal(model, [make_batch([4])], coordinates)
