"""Training loss by domain, read off the forward pass that trains anyway.

A forward hook sees what the model predicted; sums over scored tokens are added up by domain on the
model's own device, and reduced over ranks only when someone asks.

Axes: b batch, t tokens, v vocabulary, k domains, c what is summed: negative log-likelihood, one,
excess over the reference, confidence.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dids.gradients.losses import NOT_SCORED, predicts_next_tokens
from dids.gradients.token_nll import token_nll
from dids.mixture.observation import TrainedOn
from dids.ranks import is_first_rank, sum_over_ranks_

_NUM_SUMS = 4
_CROSS_ENTROPY = "NllLossBackward0"
_NODES_ABOVE = 4
"""Between a loss and its cross entropy: a division by the tokens, a cast."""


class DomainLosses:
    """Sums over scored tokens since the start of the run, by domain.

    Args:
        num_domains: Number of domains.

    Attributes:
        reference: A model whose losses of the same tokens are subtracted from those of the model
            that trains. None: nothing is.
        with_confidence: Whether the probabilities of the likeliest tokens are added up.
        elapsed_s: Seconds that the reference has taken.
    """

    def __init__(self, num_domains: int) -> None:
        self.reference: nn.Module | None = None
        self.with_confidence = False
        self.elapsed_s = 0.0
        self._sum_kc = torch.zeros(num_domains, _NUM_SUMS, dtype=torch.float64)
        self._read_at: dict[str, Tensor] = {}

    @contextmanager
    def recording(
        self, model: nn.Module, inputs: Mapping[str, Any], domain_b: Tensor | None
    ) -> Iterator[None]:
        """Inside, forward passes of a model count.

        Args:
            model: As it is called, wrapped or not.
            inputs: What it is called with: ``labels`` of tokens, -100 where not scored; without
                them nothing counts.
            domain_b: Domain of each row, or of each token ``[b, t]``. None, or of other rows than
                labels has: nothing counts.
        """
        labels_bt: Tensor | None = inputs.get("labels")
        if labels_bt is None or domain_b is None or not _tells(domain_b, labels_bt):
            yield
            return
        target_bt = labels_bt
        if predicts_next_tokens(model):
            target_bt = functional.pad(labels_bt[:, 1:], (0, 1), value=NOT_SCORED)

        def read(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            self._add(output, inputs, target_bt, domain_b)

        handle = model.register_forward_hook(read)
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def _add(
        self,
        output: Any,  # noqa: ANN401
        inputs: Mapping[str, Any],
        target_bt: Tensor,
        domain_b: Tensor,
    ) -> None:
        nll_bt = kept_nll(output, target_bt)
        if nll_bt is None:
            nll_bt = predicted_nll(output, target_bt)
        if nll_bt is None:
            return
        rows = domain_b if domain_b.dim() == 2 else domain_b[:, None].expand_as(target_bt)
        is_scored_bt = (target_bt != NOT_SCORED).to(nll_bt.dtype)
        sums = [
            nll_bt,
            torch.ones_like(nll_bt),
            self._excess(nll_bt, inputs, target_bt),
            confidence(output) if self.with_confidence else torch.zeros_like(nll_bt),
        ]
        values = torch.stack([(each_bt * is_scored_bt).flatten() for each_bt in sums], dim=1)
        # Apple's GPUs have no float64.
        device = torch.device("cpu") if nll_bt.device.type == "mps" else nll_bt.device
        self._sum_kc = self._sum_kc.to(device)
        self._sum_kc.index_add_(0, rows.flatten().to(device), values.to(device).double())

    def _excess(self, nll_bt: Tensor, inputs: Mapping[str, Any], target_bt: Tensor) -> Tensor:
        """What each token's loss is above the reference's; zero where it is not."""
        if self.reference is None:
            return torch.zeros_like(nll_bt)
        began_s = time.perf_counter()
        seen = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        reference_bt = predicted_nll(self.reference(**seen), target_bt)
        self.elapsed_s += time.perf_counter() - began_s
        assert reference_bt is not None
        return (nll_bt - reference_bt).clamp_min(0.0)

    def total(self) -> Tensor:
        """The sums by domain ``[k, c]`` over all ranks; every rank must ask."""
        total_kc = self._sum_kc.clone()
        sum_over_ranks_(total_kc)
        return total_kc.cpu()

    def means_since_last(self, reader: str) -> list[float | None]:
        """Mean loss of each domain since the same reader asked last; None where nothing was scored.

        Every rank must ask.
        """
        return [
            loss / count if count > 0 else None
            for loss, count, *_ in self._since_last(reader).tolist()
        ]

    def trained_since_last(self, reader: str) -> TrainedOn:
        """What training has shown of the domains since the same reader asked last.

        Every rank must ask.
        """
        new_kc = self._since_last(reader).numpy()
        tokens_k = new_kc[:, 1]
        means_kc = np.full_like(new_kc, np.nan)
        np.divide(new_kc, tokens_k[:, None], out=means_kc, where=tokens_k[:, None] > 0)
        return TrainedOn(
            tokens_k=tokens_k,
            loss_k=means_kc[:, 0],
            excess_k=None if self.reference is None else means_kc[:, 2],
            confidence_k=means_kc[:, 3] if self.with_confidence else None,
        )

    def _since_last(self, reader: str) -> Tensor:
        total_kc = self.total()
        new_kc = total_kc - self._read_at.get(reader, torch.zeros_like(total_kc))
        self._read_at[reader] = total_kc
        return new_kc

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values; every rank must ask."""
        read_at = {reader: total_k2.tolist() for reader, total_k2 in self._read_at.items()}
        return {"total": self.total().tolist(), "read_at": read_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the sums of a run, whose ranks may have been more or fewer."""
        total_kc = _sums(state["total"])
        self._sum_kc = total_kc if is_first_rank() else torch.zeros_like(total_kc)
        self._read_at = {reader: _sums(read) for reader, read in state["read_at"].items()}


def _tells(domain_b: Tensor, labels: Tensor) -> bool:
    """Whether there are labels of tokens, and it is known whose they are."""
    return labels.dim() == 2 and len(labels) == len(domain_b)


def _sums(rows: list[list[float]]) -> Tensor:
    """Sums as they were saved; a state of before has no more than the first two."""
    saved = torch.tensor(rows, dtype=torch.float64)
    return functional.pad(saved, (0, _NUM_SUMS - saved.shape[1]))


def kept_nll(output: Any, target_bt: Tensor) -> Tensor | None:  # noqa: ANN401
    """Negative log-likelihood of every target, out of what a model's own loss keeps for later.

    Nothing is computed again: to read the logits once more takes up to a sixth of a step.

    Args:
        output: Of a model of Hugging Face's kind, with its ``loss``.
        target_bt: The token that each place is to predict, -100 where not scored.

    Returns:
        ``[b, t]`` in nats, zero where not scored; None where the loss is no plain cross entropy of
        these targets.
    """
    node = getattr(getattr(output, "loss", None), "grad_fn", None)
    for _ in range(_NODES_ABOVE):
        if node is None or node.name() == _CROSS_ENTROPY:
            break
        node = node.next_functions[0][0] if node.next_functions else None
    if node is None or node.name() != _CROSS_ENTROPY:
        return None
    log_nv: Tensor = node._saved_self
    target_n: Tensor = node._saved_target
    if target_n.shape != target_bt.flatten().shape or node._saved_weight is not None:
        return None
    # Its own targets: a model may take labels otherwise than others do.
    nll_n = -log_nv.detach().gather(1, target_n.clamp(min=0).unsqueeze(1)).squeeze(1)
    return nll_n.masked_fill(target_n == NOT_SCORED, 0.0).view(target_bt.shape)


def predicted_nll(output: Any, target_bt: Tensor) -> Tensor | None:  # noqa: ANN401
    """Negative log-likelihood of every target, from whatever a model's forward pass gives.

    Args:
        output: Of a model of Hugging Face's kind: ``logits``, or TRL's ``log_probs``, which come
            without logits.
        target_bt: The token that each place is to predict, -100 where not scored.

    Returns:
        ``[b, t]`` in nats; None where a model gives neither (a fused loss).
    """
    log_probs = getattr(output, "log_probs", None)
    if log_probs is not None:
        nll_bt: Tensor = functional.pad(-log_probs.float(), (0, target_bt.shape[1]))
        return nll_bt[:, : target_bt.shape[1]]
    logits_btv = getattr(output, "logits", None)
    if logits_btv is None or logits_btv.shape[:2] != target_bt.shape:
        return None
    rows = [
        token_nll(logits_tv.detach().float(), target_t)
        for logits_tv, target_t in zip(logits_btv, target_bt, strict=True)
    ]
    return torch.stack(rows)


def confidence(output: Any) -> Tensor:  # noqa: ANN401
    """Probability of the likeliest next token at every place.

    Args:
        output: Of a model of Hugging Face's kind, with ``logits``.

    Returns:
        ``[b, t]``.
    """
    rows = [
        (logits_tv.max(-1).values - logits_tv.logsumexp(-1)).exp()
        for logits_tv in output.logits.detach().float()
    ]
    return torch.stack(rows)
