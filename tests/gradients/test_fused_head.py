"""Answers from logits are those of TRL's fused head, to rounding, and so are gradients."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dids.gradients.coordinates import Coordinates
from dids.gradients.fused_head import with_logits
from dids.gradients.grouped_gradients import GroupedGradients

add_fused_lm_head = pytest.importorskip("trl.trainer.utils").add_fused_lm_head
pytestmark = pytest.mark.filterwarnings("ignore")

FIELDS = "loss", "log_probs", "entropy", "is_top1", "label_mask"


def model(**changes):
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 2, "vocab_size": 60, "tie_word_embeddings": False}
    config = AutoConfig.for_model("llama", **{**size, **changes})
    made = AutoModelForCausalLM.from_config(config)
    add_fused_lm_head(made, outputs=("log_probs", "entropy", "is_top1"))
    return made


def batch(num=3, length=9):
    torch.manual_seed(1)
    ids = torch.randint(0, 60, (num, length))
    labels = ids.clone()
    labels[0, :4] = -100
    labels[2, 6:] = -100
    return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize("num_items", [None, 40])
@pytest.mark.parametrize("is_tied", [False, True])
def test_every_number_and_gradient_is_that_of_the_fused_head(num_items, is_tied):
    found = []
    for answers_from_logits in (False, True):
        each, own = model(tie_word_embeddings=is_tied), batch()
        settings = {"fused_lm_head": True, "num_items_in_batch": num_items}
        if answers_from_logits:
            with with_logits(each):
                output = each(**own, **settings)
        else:
            output = each(**own, **settings)
        output.loss.backward()
        gradients = {name: p.grad for name, p in each.named_parameters()}
        found.append(({name: getattr(output, name).detach() for name in FIELDS}, gradients))
    (fused, fused_gradients), (unfused, gradients) = found
    for name in FIELDS:
        torch.testing.assert_close(unfused[name], fused[name], rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, fused_gradients[name], rtol=1e-4, atol=1e-7)


def test_other_calls_and_models_go_on_as_they_are():
    each, own = model(), batch()
    plain = each(**own)
    with with_logits(each):
        torch.testing.assert_close(each(**own).logits, plain.logits)
        assert each(**own).loss == plain.loss
    assert not each._forward_hooks and not each._forward_pre_hooks
    each.get_output_embeddings().requires_grad_(False)
    with with_logits(each):
        assert type(each(**own, fused_lm_head=True)).__name__ == "FusedCausalLMOutput"
    with with_logits(torch.nn.Linear(2, 2)) as nothing:
        assert nothing is None


def test_the_heads_gradient_is_added_up_by_group():
    each, own = model(), batch()
    coordinates = Coordinates.of(each, max_coordinates=None, seed=0)
    sums = GroupedGradients(each, coordinates, 1)
    scored = (own["labels"][:, 1:] != -100).sum(1)
    total = int(scored.sum())
    with sums.collecting(torch.zeros(3, dtype=torch.int64), scored, 1.0 / total):
        each(**own, fused_lm_head=True, num_items_in_batch=total).loss.backward()
    (mean,) = sums.statistics()
    slot = coordinates.slots["lm_head.weight"]
    kept = mean.mean_p[slot.start : slot.stop]
    expected = each.lm_head.weight.grad
    assert expected.abs().sum() > 0
    torch.testing.assert_close(kept.sort().values, expected.flatten().sort().values)


def ligers(each):
    """The model with a forward pass as Liger has it: no logits while it trains."""
    real = each.forward

    def forward(input_ids, attention_mask=None, labels=None, skip_logits=None, **kwargs):
        if skip_logits is False or not each.training:
            return real(input_ids, attention_mask=attention_mask, labels=labels, **kwargs)
        hidden = each.model(input_ids, attention_mask=attention_mask).last_hidden_state
        logits = hidden @ each.lm_head.weight.T
        return SimpleNamespace(loss=each.loss_function(logits, labels, 60), logits=None)

    each.forward = forward
    return each.train()


def test_liger_makes_logits_where_gradients_are_read():
    each, own = ligers(model()), batch()
    fused = each(**own)
    assert fused.logits is None
    with with_logits(each):
        output = each(**own)
    assert output.logits.shape == (3, 9, 60)
    torch.testing.assert_close(output.loss, fused.loss)
    assert each(**own).logits is None
