"""The estimators: one function of the evidence each, a score for every domain and task.

High is good for all of them.

Axis letters: k domains, t tasks, m samples of a task, p parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from benchmarks.fidelity.evidence import Evidence
from dids.gradients.sample_rows import median_factors
from dids.impact.sample_impact import METRICS, impact

Score = Float64[np.ndarray, "k t"]
Estimator = Callable[[Evidence], Score]
_FIRST_DECAY = 0.9
"""Adam's."""


def _by_metric(metric: str, **settings: str) -> Estimator:
    sign = -1.0 if METRICS[metric].form == "distance" else 1.0

    def score(evidence: Evidence) -> Score:
        found = impact(
            evidence.domains,
            evidence.tasks,
            metric=metric,
            precondition_d=evidence.precondition_p,
            domain_weights=evidence.scored,
            num_replicates=0,
            **settings,  # type: ignore[arg-type]
        )
        return np.asarray(sign * found.value_kt)

    return score


def _clipped_step(evidence: Evidence) -> Score:
    return np.asarray(_by_metric("step")(evidence) * evidence.kept_k[:, None])


def _next_step(evidence: Evidence) -> Score:
    """The loss that Adam's next step saves: its momentum goes on, whatever the domain."""
    task_tp = torch.stack([rows.mean(0) for rows in evidence.tasks])
    common_t = (task_tp @ (evidence.precondition_p * evidence.momentum_p)).double().numpy()
    own_kt = (1.0 - _FIRST_DECAY) * _clipped_step(evidence)
    return np.asarray(_FIRST_DECAY * common_t + own_kt)


def _shortened(estimate: Estimator) -> Estimator:
    """The same of tasks whose samples' steps are no longer than their median (`robust_tasks`)."""

    def score(evidence: Evidence) -> Score:
        tasks = []
        for row_mp in evidence.tasks:
            length_m = (row_mp * evidence.precondition_p).norm(dim=1)
            tasks.append(row_mp * median_factors(length_m[None]).T)
        return estimate(replace(evidence, tasks=tasks))

    return score


def _released(evidence: Evidence) -> Score:
    """A similarity, taken for a distance, in the metric of a squared batch mean."""
    mean_kp, task_tp = _means(evidence)
    return np.asarray(-(mean_kp @ (task_tp**3).T).double().numpy())


def _with_the_mixture(evidence: Evidence) -> Score:
    """Alignment with the mean of all domains: it knows no tasks."""
    mean_kp, task_tp = _means(evidence)
    along_k = (mean_kp @ mean_kp.mean(0)).double().numpy()
    return np.repeat(along_k[:, None], len(task_tp), axis=1)


def _means(evidence: Evidence) -> tuple[Tensor, Tensor]:
    means = [
        torch.from_numpy(count / count.sum()).to(rows) @ rows
        for rows, count in zip(evidence.domains, evidence.scored, strict=True)
    ]
    return torch.stack(means), torch.stack([rows.mean(0) for rows in evidence.tasks])


ESTIMATORS: Mapping[str, Estimator] = {
    "Adam's next step · task gradient, clipped as trainers clip": _next_step,
    "optimizer step · task gradient, clipped": _clipped_step,
    "optimizer step · task gradient (`step`)": _by_metric("step"),
    "its cosine (`step-cosine`)": _by_metric("step-cosine"),
    "its cosine, long gradients shortened": _shortened(_by_metric("step-cosine")),
    "plain cosine (`cosine`)": _by_metric("cosine"),
    "plain dot product (`dot`): DGA, DoGE": _by_metric("dot"),
    "Fisher cosine, diagonal": _by_metric("fisher-cosine", fisher="diagonal"),
    "the same, long gradients shortened: `dids`": _shortened(
        _by_metric("fisher-cosine", fisher="diagonal")
    ),
    "Fisher kernel, diagonal": _by_metric("fisher-kernel", fisher="diagonal"),
    "KL distance, diagonal (the paper's)": _by_metric("kl-distance", fisher="diagonal"),
    "Fisher cosine, whole": _by_metric("fisher-cosine"),
    "Fisher kernel, whole": _by_metric("fisher-kernel"),
    "KL distance, whole": _by_metric("kl-distance"),
    "alignment with the mixture's own gradient: R&B": _with_the_mixture,
    "the released code's formula": _released,
}
