"""A head that is fused with its loss makes way for logits while gradients are read.

TRL's ``SFTTrainer`` calls a model with ``fused_lm_head=True`` (TRL 1.16): the hidden states are
multiplied by the head's weight inside the loss, in tiles, and no layer's hook sees what the weight
is given; so does Liger's forward pass where it trains, unless ``skip_logits=False``. Tasks are
measured by the model's own forward pass, head included; so must domains be.

Axes: b samples, t tokens, v vocabulary.
"""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dids.gradients.losses import NOT_SCORED
from dids.gradients.token_nll import token_nll

_FUSED = "fused_lm_head"
_SKIPS = "skip_logits"


@contextmanager
def with_logits(model: nn.Module, *, may_skip: bool | None = None) -> Iterator[None]:
    """Inside, a call with ``fused_lm_head=True`` is answered from logits, with the same numbers.

    It takes the memory of a micro-batch's logits. A frozen head's gradient nobody reads: there
    nothing changes.

    Args:
        model: As training calls it, or what it wraps.
        may_skip: What `may_skip_logits` says of it, a millisecond's question. None: it is asked.
    """
    if not _trains_its_head(model):
        yield
        return
    asked: list[Mapping[str, Any]] = []
    may_skip = may_skip_logits(model) if may_skip is None else may_skip
    plain = {_SKIPS: False} if may_skip else {}

    def before(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        labels = kwargs.get("labels")
        is_fused = bool(kwargs.get(_FUSED)) and labels is not None
        asked.append(
            {"labels": labels, "num": kwargs.get("num_items_in_batch")} if is_fused else {}
        )
        if not is_fused:
            return args, {**plain, **kwargs}
        left_out = (_FUSED, "labels", "num_items_in_batch")
        return args, {name: value for name, value in kwargs.items() if name not in left_out}

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:  # noqa: ANN401
        known = asked.pop()
        return _fused_output(output, known["labels"], known["num"]) if known else output

    handles = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.register_forward_hook(after, prepend=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _trains_its_head(model: nn.Module) -> bool:
    find = getattr(model, "get_output_embeddings", None)
    head = None if find is None else find()
    return head is not None and any(each.requires_grad for each in head.parameters())


def may_skip_logits(model: nn.Module) -> bool:
    """Whether a forward pass, of the model or of what it wraps, is Liger's."""
    return any(
        _SKIPS in inspect.signature(module.forward).parameters
        for module in model.modules()
        if hasattr(module, "get_output_embeddings")
    )


def _fused_output(output: Any, labels_bt: Tensor, num_items: Any) -> SimpleNamespace:  # noqa: ANN401
    """What the fused head would have said; per-token fields are zero where nothing is scored."""
    target_bt = functional.pad(labels_bt[:, 1:], (0, 1), value=NOT_SCORED).to(output.logits.device)
    logits_btv = output.logits if output.logits.dtype == torch.float64 else output.logits.float()
    nll_bt = token_nll(logits_btv.flatten(0, 1), target_bt.flatten()).view(target_bt.shape)
    mask_bt = target_bt[:, :-1] != NOT_SCORED
    log_probs_bt = -nll_bt[:, :-1]
    num_scored = mask_bt.sum().clamp(min=1) if num_items is None else num_items
    with torch.no_grad():
        entropy_bt = torch.stack([_entropy(row_tv) for row_tv in logits_btv[:, :-1]])
        is_top1_bt = logits_btv[:, :-1].argmax(-1) == target_bt[:, :-1]
    return SimpleNamespace(
        loss=-log_probs_bt.sum() / num_scored,
        log_probs=log_probs_bt,
        entropy=entropy_bt * mask_bt,
        is_top1=is_top1_bt & mask_bt,
        label_mask=mask_bt,
        aux_loss=getattr(output, "aux_loss", None),
    )


def _entropy(logits_tv: Tensor) -> Tensor:
    log_tv = logits_tv.log_softmax(-1)
    return -(log_tv.exp() * log_tv).sum(-1)
