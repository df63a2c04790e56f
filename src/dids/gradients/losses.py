"""The loss of a sample: the mean negative log-likelihood over its scored tokens, and nothing else.

Prompt tokens and padding carry the label -100 and never count. Everything later (features, Fisher
information, task losses) differentiates or averages these numbers.

Axes: b samples of a batch, t tokens, k tokens whose logits are kept, v vocabulary.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from dids.data.padded_rows import padded_at_the_end
from dids.errors import InputError
from dids.gradients.token_nll import token_nll

NOT_SCORED = -100
"""The label of a token that no loss may count: prompt, padding."""

_LONGEST_TAIL = 0.9  # above it, moving the padding costs more than the logits saved


@dataclass(frozen=True, eq=False)
class ScoredInputs:
    """What to call a model with for the logits of those tokens that are scored.

    Attributes:
        arguments: Of the model's ``forward``.
        labels_bt: Of all tokens that it sees, in their places.
        num_kept: Logits of so many last tokens come out.
    """

    arguments: Mapping[str, Any]
    labels_bt: Int[Tensor, "b t"]
    num_kept: int

    @property
    def labels_bk(self) -> Int[Tensor, "b k"]:
        """Of the tokens whose logits come out; those after token t belong to that of t + 1."""
        return self.labels_bt[:, self.labels_bt.shape[1] - self.num_kept :]


def scored_inputs(model: nn.Module, batch: Mapping[str, Tensor]) -> ScoredInputs:
    """How to ask the model for what it predicts where something is scored.

    Completions stand at the end. Where they are short, samples are padded on the left instead, so
    that they end together, and logits are computed for the end alone: with a large vocabulary
    logits are most of a pass, and a prompt's are never looked at.

    Args:
        model: A causal language model of Hugging Face's kind.
        batch: ``input_ids``, ``labels`` and, where samples are padded, ``attention_mask``. With
            ``position_ids``, samples stay where they are.

    Raises:
        InputError: If there are no labels, or they are not one for each token, each a token's id or
            -100.
    """
    batch = _checked(batch)
    labels_bt = batch["labels"]
    num_tokens = labels_bt.shape[1]
    shift_b = torch.zeros_like(labels_bt[:, 0])
    if batch.get("attention_mask") is not None:
        shift_b = num_tokens - (batch["attention_mask"] != 0).sum(1)
    place_t = torch.arange(num_tokens, device=labels_bt.device)
    is_scored_bt = labels_bt[:, 1:] != NOT_SCORED
    predicted_from_bt = torch.where(is_scored_bt, place_t[:-1] + shift_b[:, None], num_tokens - 1)
    num_kept = num_tokens - int(predicted_from_bt.min()) if num_tokens > 1 else 1
    has_positions = batch.get("position_ids") is not None
    is_long = num_kept > _LONGEST_TAIL * num_tokens
    if is_long or has_positions or not _can_keep_the_tail(model):
        whole: dict[str, Any] = {
            "input_ids": batch["input_ids"],
            "attention_mask": batch.get("attention_mask"),
            "use_cache": False,
        }
        if has_positions:
            whole["position_ids"] = batch["position_ids"]
        return ScoredInputs(whole, labels_bt, num_tokens)
    source_bt = (place_t - shift_b[:, None]) % num_tokens
    # The first token is predicted from nothing, and would be from padding where it is moved to.
    batch = {**batch, "labels": labels_bt.index_fill(1, place_t[:1], NOT_SCORED)}
    rolled = {
        name: batch[name].gather(1, source_bt)
        for name in ("input_ids", "attention_mask", "labels")
        if batch.get(name) is not None
    }
    arguments: dict[str, Any] = {
        "input_ids": rolled["input_ids"],
        "attention_mask": rolled.get("attention_mask"),
        "position_ids": (place_t - shift_b[:, None]).clamp(min=0),
        "use_cache": False,
        "logits_to_keep": num_kept,
    }
    return ScoredInputs(arguments, rolled["labels"], num_kept)


def _checked(batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A batch whose samples begin with their rows."""
    labels_bt = batch.get("labels")
    ids_bt = batch["input_ids"]
    if labels_bt is None:
        raise InputError(f"a batch must have labels, but it has {', '.join(batch)}.")
    if labels_bt.shape != ids_bt.shape:
        raise InputError(
            f"labels must be one for each token, but they are {tuple(labels_bt.shape)} and "
            f"input_ids {tuple(ids_bt.shape)}."
        )
    is_odd_bt = (labels_bt < 0) & (labels_bt != NOT_SCORED)
    if bool(is_odd_bt.any()):
        odd = int(labels_bt[is_odd_bt][0])
        raise InputError(
            f"labels must be a token's id, or {NOT_SCORED} where nothing is scored, but one is "
            f"{odd}."
        )
    if batch.get("position_ids") is not None:
        return batch
    rows = {"input_ids": ids_bt, "labels": labels_bt}
    mask_bt = batch.get("attention_mask")
    if mask_bt is not None:
        is_other = mask_bt.is_floating_point() or mask_bt.dtype == torch.bool
        rows["attention_mask"] = (mask_bt != 0).to(torch.int64) if is_other else mask_bt
    return padded_at_the_end(rows)


def _can_keep_the_tail(model: nn.Module) -> bool:
    """Whether a model computes logits for the end of a sequence alone, and may see it moved."""
    known = inspect.signature(model.forward).parameters
    kind = getattr(getattr(model, "config", None), "model_type", None)
    return "logits_to_keep" in known and "position_ids" in known and kind not in _STAY


_STAY = (
    # Gradients reach padding before a sample through the convolution's biases.
    "recurrent_gemma",
    # Positions are counted from the padding's own number on.
    "camembert",
    "data2vec-text",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Models whose samples are not what they were where padding is moved to their beginning."""


def scored_counts(labels_bt: Int[Tensor, "b t"]) -> Int[Tensor, " b"]:
    """Scored tokens of each sample; the first token is predicted from nothing and never counts."""
    return (labels_bt[:, 1:] != NOT_SCORED).sum(1)


def predicts_next_tokens(model: nn.Module) -> bool:
    """Whether logits after token t are of token t + 1, and labels are shifted so, as far as known.

    Not those of encoders and decoders, and not those of models that classify or fill in tokens.

    Args:
        model: Of Hugging Face's kind, wrapped for several processes, compiled, with adapters, or as
            it is.
    """
    inside: Any = model
    while (wrapped := getattr(inside, "module", getattr(inside, "_orig_mod", None))) is not None:
        inside = wrapped
    if hasattr(inside, "get_base_model"):  # peft's
        inside = inside.get_base_model()
    is_encoder_decoder = getattr(getattr(inside, "config", None), "is_encoder_decoder", False)
    return not is_encoder_decoder and not type(inside).__name__.endswith(_OTHER_LOSSES)


_OTHER_LOSSES = ("ForMaskedLM", "ForPreTraining", "Classification", "ForQuestionAnswering")
"""How classes of Transformers end whose labels are of the tokens where they stand, or of none."""


def sees_what_it_predicts(model: nn.Module) -> bool:
    """Whether a model looks at the tokens to come, as BERT and its kin do, made for what it is not.

    Transformers makes language models of them, too, and only warns where ``is_decoder`` is not set.
    """
    is_decoder = getattr(getattr(model, "config", None), "is_decoder", None)
    return is_decoder is False and any(
        getattr(module, "is_causal", None) is False for module in model.modules()
    )


def mean_per_token(labels_bt: Int[Tensor, "b t"]) -> float:
    """What a mean over a batch's scored tokens multiplies each of them by."""
    return 1.0 / max(1, int(scored_counts(labels_bt).sum()))


def losses_of_logits(
    logits_btv: Float[Tensor, "b t v"],
    labels_bt: Int[Tensor, "b t"],
    *,
    is_last_look: bool = False,
) -> Float[Tensor, " b"]:
    """Mean negative log-likelihood of each sample's scored tokens.

    Args:
        logits_btv: Predictions; those after token t are compared with the label of token t + 1.
        labels_bt: Token ids, -100 where a token is not scored.
        is_last_look: Whether the caller looks at the logits no more and runs backward once: the
            gradient then takes their place, where autograd does not need them either.

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
    overwrites = is_last_look and (wide is not logits_btv or _is_done_with(logits_btv))
    nll_n = token_nll(wide.flatten(0, 1), target_bt.flatten(), overwrites=overwrites)
    nll_bt = nll_n.view(target_bt.shape)
    scored_b = (target_bt != NOT_SCORED).sum(1).clamp(min=1)
    return nll_bt.sum(1) / scored_b


_VIEWS = ("UnsafeViewBackward0", "ViewBackward0")
_DO_NOT_KEEP_RESULTS = (
    "MmBackward0",
    "AddmmBackward0",
    "AddBackward0",
    "MulBackward0",
    "DivBackward0",
    "ToCopyBackward0",
)


def _is_done_with(tensor: Tensor) -> bool:
    """Whether whatever made a tensor does not look at it again in its backward pass.

    True of a head's product, scaled or not. Whoever does look (a head that ends in tanh) would find
    a gradient there, and autograd would stop with an error.
    """
    node = tensor.grad_fn
    while node is not None and node.name() in _VIEWS:
        node = node.next_functions[0][0]
    return node is not None and node.name() in _DO_NOT_KEEP_RESULTS


def sample_losses(
    model: nn.Module, batch: Mapping[str, Tensor], *, is_last_look: bool = False
) -> Float[Tensor, " b"]:
    """Loss of each sample of a batch, in float32 even where the model runs under autocast.

    Args:
        model: A causal language model of Hugging Face's kind.
        batch: ``input_ids``, ``labels`` (-100 where not scored) and, when padded,
            ``attention_mask``; ``position_ids`` as `scored_inputs` takes them.
        is_last_look: Whether no hook keeps the logits and backward runs once; see
            :func:`losses_of_logits`.

    Returns:
        Nats a scored token; 0 for a sample with nothing scored.
    """
    inputs = scored_inputs(model, batch)
    logits_bkv = model(**inputs.arguments).logits
    return losses_of_logits(logits_bkv, inputs.labels_bk, is_last_look=is_last_look)
