"""What a policy sees in the tests: four domains, two tasks."""

import numpy as np

from dids.impact.matrices import ImpactMatrices
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import FeatureSamples, Observation, TrainedOn

FALLING = [(n * 1000, 2.0 * 0.8**n + 1.0) for n in range(8)]


def impact_of(update, target):
    """Impact in the plain metric."""
    update, target = np.array(update, dtype=float), np.array(target, dtype=float)
    return ImpactMatrices(
        gram_tkk=np.stack([update @ update.T] * len(target)),
        kernel_kt=update @ target.T,
        target_norm_t=(target**2).sum(1),
        domain_names=tuple(f"d{k}" for k in range(len(update))),
        task_names=tuple(f"t{t}" for t in range(len(target))),
    )


# Two domains that match a task each, one that does nothing, one that harms both.
IMPACT = impact_of([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, 0]], [[1, 0.1, 0], [0.1, 1, 0]])

# The second domain was not drawn.
TRAINED = TrainedOn(
    tokens_k=np.array([40.0, 0.0, 60.0, 100.0]),
    loss_k=np.array([2.0, np.nan, 3.0, 1.5]),
    excess_k=np.array([0.3, np.nan, 0.0, 0.1]),
    confidence_k=np.array([0.3, np.nan, 0.2, 0.5]),
)


def features_of(domains, tasks, *, noise=0.2, num_samples=12, seed=0):
    """Features of length 1 around the given directions."""
    rng = np.random.default_rng(seed)

    def samples(direction):
        rows = np.array(direction, dtype=float) + noise * rng.normal(
            size=(num_samples, len(direction))
        )
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    names = tuple(f"t{t}" for t in range(len(tasks)))
    return FeatureSamples(tuple(map(samples, domains)), tuple(map(samples, tasks)), names)


# As in IMPACT.
FEATURES = features_of([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, 0]], [[1, 0.1, 0], [0.1, 1, 0]])
BRACKETS = np.array([[0, 1, 2, 0], [-1, 0, 1, 0], [-2, -1, 0, 0], [0, 0, 0, 0]], dtype=float)


def observation_of(**changes):
    settings = {
        "round": 1,
        "step": 10,
        "tokens": 7000,
        "horizon_tokens": 1000,
        "impact": IMPACT,
        "task_losses": {"t0": FALLING, "t1": FALLING},
        "task_weights": np.ones(2),
        "sizes_k": np.array([100, 200, 300, 400]),
        "draws_k": np.array([10, 10, 10, 10]),
        "previous": np.full(4, 0.25),
        "prior": np.full(4, 0.25),
        "limits": MixtureLimits.with_floor(4, 0.1),
        "progress": 0.5,
        "num_steps": 20,
    }
    if len(changes.get("sizes_k", settings["sizes_k"])) == 4:
        settings |= {
            "trained": TRAINED,
            "features": FEATURES,
            "brackets_kk": BRACKETS,
            "domain_names": ("d0", "d1", "d2", "d3"),
        }
    else:
        settings["impact"] = None
    return Observation(**{**settings, **changes})
