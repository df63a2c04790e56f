"""Stage six: impact of every domain on every task before training, measured on the proxy.

It makes the first mixture; during training, impact is measured on the model itself.
"""

from typing import Any

from dids.atomic import write_json
from dids.impact.by_name import impact_by_name
from dids.impact.preconditioner import SecondMoments
from dids.run.measuring import IMPACT_NAME, before_training, estimator
from dids.run.steering import check_steering_file, write_steering_file
from dids.run.workspace import Workspace
from dids.training.train import MOMENTS_NAME


def run(work: Workspace) -> dict[str, Any]:
    """Write ``impact.json``."""
    write_steering_file(work)
    check_steering_file(work)
    model = work.saved_model("proxy")
    moments_path = work.path("proxy") / MOMENTS_NAME
    moments = SecondMoments.load(moments_path) if moments_path.exists() else None
    measured = estimator(work, before_training(work)).measure_with(model, moments, index=0)
    matrices = measured.matrices
    write_json(
        work.path(IMPACT_NAME),
        {
            "grouping": work.domains.grouping,
            "matrices": matrices.to_json(),
            **impact_by_name(matrices),
        },
    )
    return {"num_gradient_samples": measured.num_gradient_samples}
