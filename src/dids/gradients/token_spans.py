"""Which tokens of each sample can have a gradient: a layer's products need no others.

Padding has none, nor has what stands behind the last scored token. The logits' own layer has one
only where something is scored: after a prompt. On a GPU, which multiplies padding for less than it
takes to say what is none, nobody asks.

Axes: b samples, t tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from dids.gradients.losses import NOT_SCORED

Span = tuple[int, int]
"""From the first token to the one behind the last."""
_MOST_OF_ALL = 0.9  # of the tokens; above it one product of all samples is as fast


@dataclass(frozen=True)
class TokenSpans:
    """Of a batch.

    Attributes:
        num_tokens: Length of the axis t.
        body: For each sample, the tokens whose hidden states reach its loss. None: all, or nearly.
        head: The tokens whose logits do.
    """

    num_tokens: int
    body: Sequence[Span] | None
    head: Sequence[Span] | None

    @classmethod
    def of(
        cls, labels_bt: Int[Tensor, "b t"], attention_mask: Int[Tensor, "b t"] | None = None
    ) -> "TokenSpans | None":
        """The spans of a batch whose tokens are predicted from those before them.

        Args:
            labels_bt: -100 where not scored; logits after token t belong to the label of t + 1.
            attention_mask: Of padded samples. Without it they are padded on the right.

        Returns:
            None on a GPU, and for a single token, which nothing predicts.
        """
        num_tokens = labels_bt.shape[1]
        if labels_bt.is_cuda or num_tokens < 2:
            return None
        is_scored_bt = labels_bt[:, 1:] != NOT_SCORED
        first_b = is_scored_bt.int().argmax(1)
        last_b = num_tokens - 1 - is_scored_bt.flip(1).int().argmax(1)
        last_b = last_b.where(is_scored_bt.any(1), first_b)
        # Padding on the left may still predict the first token.
        begin_b = first_b.clamp(max=0)
        if attention_mask is not None:
            begin_b = attention_mask.int().argmax(1).minimum(first_b)
        return cls(
            num_tokens,
            body=_spans(begin_b, last_b, num_tokens),
            head=_spans(first_b, last_b, num_tokens),
        )


def _spans(first_b: Tensor, end_b: Tensor, num_tokens: int) -> list[Span] | None:
    if int((end_b - first_b).sum()) > _MOST_OF_ALL * num_tokens * len(first_b):
        return None
    return list(zip(first_b.tolist(), end_b.tolist(), strict=True))
