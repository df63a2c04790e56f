import pytest
import torch
from tiny_models import make_batch, tiny_llama
from torch.nn import functional

from dids.gradients import Coordinates, Projection, gradient_statistics, sample_features
from dids.gradients.attention import fast_attention

CPU = torch.device("cpu")


@pytest.mark.parametrize("as_keywords", [True, False])
def test_attention_under_bfloat16_autocast_is_that_of_float32(as_keywords):
    query, key, value = torch.randn(3, 2, 4, 9, 8).bfloat16().unbind()
    mask = torch.randn(9, 9).bfloat16()
    wide = [tensor.float() for tensor in (query, key, value, mask)]
    expected = functional.scaled_dot_product_attention(*wide[:3], attn_mask=wide[3])
    with torch.autocast("cpu", torch.bfloat16), fast_attention(CPU):
        if as_keywords:
            found = functional.scaled_dot_product_attention(
                query=query, key=key, value=value, attn_mask=mask
            )
        else:
            found = functional.scaled_dot_product_attention(query, key, value, mask)
        assert torch.is_autocast_enabled("cpu")
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


def test_attention_is_the_models_own_everywhere_else():
    query = torch.randn(1, 1, 5, 8)
    own = functional.scaled_dot_product_attention(query, query, query)
    with fast_attention(CPU):
        found = functional.scaled_dot_product_attention(query, query, query)
    assert found.dtype == torch.float32
    assert torch.equal(found, own)
    double = query.double()
    with torch.autocast("cpu", torch.bfloat16), fast_attention(CPU):
        assert functional.scaled_dot_product_attention(double, double, double).dtype == double.dtype


def test_passes_under_autocast_leave_the_models_attention_behind():
    model, batch = tiny_llama(double=False), make_batch([6, 4])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        before = model(input_ids=batch["input_ids"]).logits
        sample_features(model, batch, Projection(16))
        gradient_statistics(model, [batch], Coordinates.of(model), with_squares=False)
        assert torch.equal(model(input_ids=batch["input_ids"]).logits, before)
