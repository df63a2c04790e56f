"""What is timed, and how.

Axis letters: k domains, t tasks, p parameters.
"""

import json
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from dids.impact.matrices import ImpactMatrices
from dids.impact.sample_impact import impact
from dids.mixture.limits import MixtureLimits
from dids.mixture.observation import Observation
from dids.mixture.policy import make_policy

_DIM, _TASKS, _DOMAIN_ROWS, _TASK_ROWS = 1024, 20, 8, 32


def measured_row(name: str, size: int) -> tuple[float, float]:
    """Seconds of processor time, the best of three, and megabytes at the peak beyond the input."""
    torch.set_num_threads(1)
    work = ROWS[name](size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    elapsed_s = []
    for _ in range(3):
        began_s = time.process_time()
        work()
        elapsed_s.append(time.process_time() - began_s)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return min(elapsed_s), (after - before) / 1024


def _of_features(metric: str, num_replicates: int) -> Callable[[int], Callable[[], object]]:
    def prepared(size: int) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(0)
        domains = [torch.randn(_DOMAIN_ROWS, _DIM, generator=generator) for _ in range(size)]
        tasks = [torch.randn(_TASK_ROWS, _DIM, generator=generator) for _ in range(_TASKS)]
        return lambda: impact(domains, tasks, metric=metric, num_replicates=num_replicates)

    return prepared


def _decision(policy: str) -> Callable[[int], Callable[[], object]]:
    def prepared(size: int) -> Callable[[], object]:
        seen = _observation(size)
        return lambda: make_policy(policy).mixture(seen)

    return prepared


def _state(policy: str) -> Callable[[int], Callable[[], object]]:
    def prepared(size: int) -> Callable[[], object]:
        decided, resumed = make_policy(policy), make_policy(policy)
        decided.mixture(_observation(size))
        return lambda: resumed.load_state_dict(json.loads(json.dumps(decided.state_dict())))

    return prepared


def _observation(size: int) -> Observation:
    random = np.random.default_rng(0)
    update_kp, target_tp = random.normal(size=(size, 64)), random.normal(size=(_TASKS, 64))
    matrices = ImpactMatrices.of(
        update_kp=torch.from_numpy(update_kp),
        target_tp=torch.from_numpy(target_tp),
        fisher_tp=torch.ones(_TASKS, 64, dtype=torch.float64),
        domain_names=tuple(f"d{k}" for k in range(size)),
        task_names=tuple(f"t{t}" for t in range(_TASKS)),
    )
    uniform = np.full(size, 1.0 / size)
    return Observation(
        round=1, step=1, tokens=1, horizon_tokens=1, impact=matrices, task_losses={},
        task_weights=np.ones(_TASKS), sizes_k=np.full(size, 1000),
        draws_k=np.zeros(size, dtype=np.int64), previous=uniform, prior=uniform,
        limits=MixtureLimits.with_floor(size, 0.25),
    )  # fmt: skip


ROWS: dict[str, Callable[[int], Callable[[], object]]] = {
    "impact, step": _of_features("step", 0),
    "impact, whole Fisher cosine": _of_features("fisher-cosine", 0),
    "impact, step, 50 bootstrap replicates": _of_features("step", 50),
    "a decision of dids": _decision("dids"),
    "its state, written as JSON and read": _state("dids"),
    "a decision of dids-joint": _decision("dids-joint"),
}
