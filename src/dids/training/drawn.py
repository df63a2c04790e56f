"""What a run asked of every domain and what it got: ``drawn.json``.

Axis letters: k domains.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from dids.sampling.mixture_log import MixtureLog
from dids.sampling.sampler import MixtureSampler
from dids.sampling.usage import DomainUsage


def drawn(
    sampler: MixtureSampler,
    mixtures: MixtureLog,
    names: Sequence[str],
    sizes_k: Integer[np.ndarray, " k"],
    tokens_k: Integer[np.ndarray, " k"],
    steps: int,
) -> dict[str, Any]:
    """What a run asked of every domain and what it got, in samples and tokens.

    Args:
        sampler: Of the run.
        mixtures: All that held.
        names: Of the domains.
        sizes_k: Samples of each domain.
        tokens_k: Tokens of all of them.
        steps: Of the run.
    """
    asked_k = mixtures.steps_asked(steps) * sampler.batch_size
    mean_length_k = tokens_k / sizes_k
    if sampler.unit == "tokens":
        share_k = asked_k / max(1.0, asked_k.sum())
        asked_k = share_k * sampler.tokens(steps) / np.maximum(mean_length_k, 1.0)
    return {
        "steps": steps,
        "tokens": sampler.tokens(steps),
        "domains": {
            name: {
                "samples_asked": float(asked_k[k]),
                "samples_drawn": usage.samples,
                "tokens_asked": float(asked_k[k] * mean_length_k[k]),
                "tokens_drawn": usage.tokens,
                **_first_pass(usage, int(sizes_k[k]), int(tokens_k[k])),
                "tokens_left": usage.tokens_left,
                "repeats": usage.repeats,
            }
            for k, (name, usage) in enumerate(zip(names, sampler.usage(steps), strict=True))
        },
    }


def _first_pass(usage: DomainUsage, num_samples: int, num_tokens: int) -> dict[str, int]:
    """Tokens of a domain drawn again, and never drawn; every sample comes once before any again."""
    is_through = usage.samples >= num_samples
    return {
        "tokens_repeated": usage.tokens - num_tokens if is_through else 0,
        "tokens_unseen": 0 if is_through else num_tokens - usage.tokens,
    }
