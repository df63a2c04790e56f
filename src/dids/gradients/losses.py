"""The loss of a sample: the mean negative log-likelihood over its scored tokens, and nothing else.

Prompt tokens and padding carry the label -100 and never count. Everything later (features, Fisher
information, task losses) differentiates or averages these numbers.

Axes: b samples of a batch, t tokens, v vocabulary.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from dids.gradients.token_nll import token_nll

NOT_SCORED = -100
"""The label of a token that no loss may count: prompt, padding."""


def token_logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "b t v"]:
    """What the model predicts after every token of a batch.

    Args:
        model: A causal language model of Hugging Face's kind.
        batch: ``input_ids`` and, where samples are padded, ``attention_mask``.

    Returns:
        Logits in the model's own precision.
    """
    logits: Tensor = model(
        input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"), use_cache=False
    ).logits
    return logits


def losses_of_logits(
    logits_btv: Float[Tensor, "b t v"], labels_bt: Int[Tensor, "b t"]
) -> Float[Tensor, " b"]:
    """Mean negative log-likelihood of each sample's scored tokens.

    Args:
        logits_btv: Predictions; those after token t are compared with the label of token t + 1.
        labels_bt: Token ids, -100 where a token is not scored.

    Returns:
        Loss in nats a token; 0 (with no gradient) for a sample with nothing scored. In float32, or
        in float64 for a float64 model.

    Example:
        >>> losses_of_logits(torch.zeros(1, 3, 8), torch.tensor([[5, -100, 7]]))
        tensor([2.0794])
    """
    # Labels move instead of logits: slicing logits would copy the largest tensor of the pass.
    target_bt = functional.pad(labels_bt[:, 1:], (0, 1), value=NOT_SCORED)
    wide = logits_btv if logits_btv.dtype == torch.float64 else logits_btv.float()
    nll_bt = token_nll(wide.flatten(0, 1), target_bt.flatten()).view(target_bt.shape)
    scored_b = (target_bt != NOT_SCORED).sum(1).clamp(min=1)
    return nll_bt.sum(1) / scored_b


def sample_losses(model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, " b"]:
    """Loss of each sample of a batch, in float32 even where the model runs under autocast.

    Args:
        model: A causal language model of Hugging Face's kind.
        batch: ``input_ids``, ``labels`` (-100 where not scored) and, when padded,
            ``attention_mask``.

    Returns:
        Nats a scored token; 0 for a sample with nothing scored.
    """
    return losses_of_logits(token_logits(model, batch), batch["labels"])
