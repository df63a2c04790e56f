"""Impact with the names of domains and tasks, as it is written down and shown."""

import math

import numpy as np

from dids.impact.matrices import ImpactMatrices


def impact_by_name(matrices: ImpactMatrices) -> dict[str, dict[str, dict[str, float | None]]]:
    """Cosine with its error, kernel and distance as ``{form: {domain: {task: value}}}``."""
    forms = {
        "cosine": matrices.fisher_cosine(),
        "kernel": matrices.fisher_kernel(),
        "distance": matrices.kl_distance(),
    }
    error_kt = matrices.cosine_error()
    if error_kt is not None:
        forms["cosine_error"] = error_kt
    return {
        form: {
            domain: {
                task: value if math.isfinite(value) else None  # JSON has no infinity
                for task, value in zip(matrices.task_names, row, strict=True)
            }
            for domain, row in zip(
                matrices.domain_names, np.asarray(value_kt).tolist(), strict=True
            )
        }
        for form, value_kt in forms.items()
    }
