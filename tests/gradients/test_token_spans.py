"""Tokens without a gradient are found by their labels, and leaving them out changes nothing."""

import pytest
import torch
from tiny_models import make_batch, scored, tiny_gpt2, tiny_llama, train_backward

from dids.gradients import Coordinates, GroupedGradients, gradient_statistics, layer_gradients
from dids.gradients import token_spans as module
from dids.gradients.layer_gradient import OuterGradient
from dids.gradients.token_spans import TokenSpans

NO = -100


def test_spans_run_from_the_first_to_the_last_token_that_is_looked_at():
    labels_bt = torch.tensor(
        [
            [NO, NO, NO, 5, 6, NO, NO, NO],  # a completion, then padding
            [NO, NO, NO, NO, NO, NO, NO, 5],
            [5, NO, NO, NO, NO, NO, NO, NO],  # nothing predicts a first token
        ]
    )
    spans = TokenSpans.of(labels_bt)
    assert spans.num_tokens == 8
    assert spans.body == [(0, 4), (0, 7), (0, 0)]
    assert spans.head == [(2, 4), (6, 7), (0, 0)]


def test_padding_on_the_left_is_left_out_but_for_what_predicts_the_first_token():
    labels_bt = torch.tensor([[NO, NO, NO, NO, NO, NO, 7, 8], [NO, NO, NO, 4, 5, 6, 7, 8]])
    mask_bt = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]])
    spans = TokenSpans.of(labels_bt, mask_bt)
    assert spans.body == [(4, 7), (2, 7)]
    assert spans.head == [(5, 7), (2, 7)]


def test_nearly_full_batches_have_none():
    whole = TokenSpans.of(torch.full((3, 64), 5))
    assert whole.body is None
    assert whole.head is None
    completions = torch.full((3, 64), 5)
    completions[:, :40] = NO
    spans = TokenSpans.of(completions)
    assert spans.body is None
    assert spans.head == [(39, 63)] * 3
    assert TokenSpans.of(torch.full((3, 1), 5)) is None


def parts(model, batch, spans):
    """Of every use of a matrix: the gradient at its output, and where it may be."""
    found = []

    def receive(layer):
        if isinstance(layer, OuterGradient):
            found.append((layer.name, layer.left_bto.clone(), layer.span_b))

    with layer_gradients(model, receive, weight_gradients=True, spans=lambda: spans):
        train_backward(model, batch, 1.0)
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("prompt", [1, 3])
def test_outside_its_span_every_gradient_is_zero(tied, prompt):
    model = tiny_llama(tied=tied).eval()
    batch = make_batch([12, 5, 2, 1], prompt=prompt)
    spans = TokenSpans.of(batch["labels"], batch["attention_mask"])
    found = parts(model, batch, spans)
    head = "model.embed_tokens.weight" if tied else "lm_head.weight"
    assert {name for name, _, _ in found} >= {head, "model.layers.0.self_attn.q_proj.weight"}
    for name, left_bto, span_b in found:
        assert span_b == (spans.head if name == head else spans.body)
        for left_to, (first, end) in zip(left_bto, span_b, strict=True):
            assert not left_to[:first].any()
            assert not left_to[end:].any()
            assert left_to[first:end].any() or first == end


@pytest.mark.parametrize("max_coordinates", [None, 400])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_sums_of_training_are_the_same_with_and_without(make, max_coordinates):
    model = make().eval()
    batch = make_batch([12, 5, 2, 7], prompt=2)
    spans = TokenSpans.of(batch["labels"], batch["attention_mask"])
    coordinates = Coordinates.of(model, max_coordinates=max_coordinates)
    sums = []
    for given in (None, spans):
        grouped = GroupedGradients(model, coordinates, num_groups=2)
        with grouped.collecting(torch.tensor([0, 1, 1, 0]), scored(batch), 1.0 / 3.0, spans=given):
            train_backward(model, batch, 3.0)
        sums.append(grouped.tensors())
    for name in ("sums", "weights", "counts"):
        torch.testing.assert_close(sums[1][name], sums[0][name], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sums[1]["rows"], sums[0]["rows"], rtol=2**-6, atol=5e-3)


@pytest.mark.parametrize("with_squares", [False, True])
def test_statistics_are_the_same_with_and_without(monkeypatch, with_squares):
    model = tiny_llama()
    batches = [make_batch([12, 5, 2, 7], prompt=2), make_batch([12, 5], prompt=10)]
    coordinates = Coordinates.of(model, max_coordinates=400)
    found = gradient_statistics(model, batches, coordinates, with_squares=with_squares)
    monkeypatch.setattr(module, "_MOST_OF_ALL", -1.0)
    expected = gradient_statistics(model, batches, coordinates, with_squares=with_squares)
    torch.testing.assert_close(found.halves_2p, expected.halves_2p, rtol=1e-9, atol=1e-12)
    if with_squares:
        torch.testing.assert_close(found.square_p, expected.square_p, rtol=1e-9, atol=1e-12)
