"""Training loss by domain, read off the forward pass that trains anyway.

A forward hook sees what the model predicted; sums of negative log-likelihood and of scored tokens
are added up by domain on the model's own device, and reduced over ranks only when someone asks.

Axes: b batch, t tokens, v vocabulary, k domains.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dids.gradients.losses import NOT_SCORED
from dids.gradients.token_nll import token_nll
from dids.training.ranks import rank


class DomainLosses:
    """Sums of loss and of scored tokens since the start of the run.

    Args:
        num_domains: Number of domains.
    """

    def __init__(self, num_domains: int) -> None:
        self._sum_k2 = torch.zeros(num_domains, 2, dtype=torch.float64)
        self._read_at: dict[str, Tensor] = {}

    @contextmanager
    def recording(
        self, model: nn.Module, labels_bt: Tensor | None, domain_b: Tensor | None
    ) -> Iterator[None]:
        """Inside, forward passes of a model count.

        Args:
            model: As it is called, wrapped or not.
            labels_bt: Its labels, -100 where not scored. None: nothing counts.
            domain_b: Domain of each row, or of each token ``[b, t]``. None: nothing counts.
        """
        if labels_bt is None or domain_b is None:
            yield
            return

        def read(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            self._add(output, labels_bt, domain_b)

        handle = model.register_forward_hook(read)
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def _add(self, output: Any, labels_bt: Tensor, domain_b: Tensor) -> None:  # noqa: ANN401
        target_bt = functional.pad(labels_bt[:, 1:], (0, 1), value=NOT_SCORED)
        nll_bt = predicted_nll(output, target_bt)
        if nll_bt is None:
            return
        rows = domain_b if domain_b.dim() == 2 else domain_b[:, None].expand_as(target_bt)
        is_scored_bt = (target_bt != NOT_SCORED).to(nll_bt.dtype)
        values = torch.stack([(nll_bt * is_scored_bt).flatten(), is_scored_bt.flatten()], dim=1)
        # Apple's GPUs have no float64.
        device = torch.device("cpu") if nll_bt.device.type == "mps" else nll_bt.device
        self._sum_k2 = self._sum_k2.to(device)
        self._sum_k2.index_add_(0, rows.flatten().to(device), values.to(device).double())

    def total(self) -> Tensor:
        """Loss and scored tokens by domain ``[k, 2]`` over all ranks; every rank must ask."""
        total_k2 = self._sum_k2.clone()
        if rank() is not None:
            if torch.distributed.get_backend() == "nccl":  # it reduces nothing that is on the CPU
                total_k2 = total_k2.to(torch.device("cuda", torch.cuda.current_device()))
            torch.distributed.all_reduce(total_k2)
        return total_k2.cpu()

    def means_since_last(self, reader: str) -> list[float | None]:
        """Mean loss of each domain since the same reader asked last; None where nothing was scored.

        Every rank must ask.
        """
        total_k2 = self.total()
        new_k2 = total_k2 - self._read_at.get(reader, torch.zeros_like(total_k2))
        self._read_at[reader] = total_k2
        return [loss / count if count > 0 else None for loss, count in new_k2.tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values; every rank must ask."""
        read_at = {reader: total_k2.tolist() for reader, total_k2 in self._read_at.items()}
        return {"total": self.total().tolist(), "read_at": read_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the sums of a run, whose ranks may have been more or fewer."""
        total_k2 = torch.tensor(state["total"], dtype=torch.float64)
        self._sum_k2 = torch.zeros_like(total_k2) if rank() else total_k2
        self._read_at = {
            reader: torch.tensor(read, dtype=torch.float64)
            for reader, read in state["read_at"].items()
        }


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
