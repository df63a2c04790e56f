"""Stage six: impact of every domain on every task before training, measured on the proxy.

It makes the first mixture; during training, impact is measured on the model itself.
"""

from typing import Any

from dids.atomic import read_json, write_json
from dids.impact.estimate import ImpactEstimator
from dids.impact.matrices import ImpactMatrices
from dids.impact.measuring_budget import MeasuringBudget
from dids.impact.preconditioner import SecondMoments
from dids.run.workspace import Workspace
from dids.training.rounds import impact_by_name
from dids.training.train import MOMENTS_NAME


def run(work: Workspace) -> dict[str, Any]:
    """Write ``impact.json``."""
    model = work.saved_model("proxy")
    moments_path = work.path("proxy") / MOMENTS_NAME
    moments = SecondMoments.load(moments_path) if moments_path.exists() else None
    measured = estimator(work).measure_with(model, moments, index=0)
    matrices = measured.matrices
    write_json(
        work.path("impact.json"),
        {"matrices": matrices.to_json(), **impact_by_name(matrices)},
    )
    return {"num_gradient_samples": measured.num_gradient_samples}


def initial_impact(work: Workspace) -> ImpactMatrices:
    """What this stage measured."""
    return ImpactMatrices.from_json(read_json(work.path("impact.json"))["matrices"])


def estimator(work: Workspace) -> ImpactEstimator:
    """The estimator of this run, with what it may spend each round."""
    config = work.config
    data = work.domain_data
    mean_length = float(work.dataset.lengths.mean())
    round_samples = int(config.budget.tokens / mean_length / config.mixture.rounds)
    tasks = work.scored_tasks
    from_training = config.impact.domain_gradients == "training"
    return ImpactEstimator(
        dataset=work.dataset,
        members_by_domain=data.members,
        domain_names=data.names,
        tasks={task: work.task_dataset(task, "validation") for task in tasks},
        collate=work.collate,
        budget=MeasuringBudget.within(
            domain_samples=config.impact.domain_samples,
            task_samples=config.impact.task_samples,
            validation_samples=config.impact.validation_samples,
            num_domains=0 if from_training else len(data.names),
            num_tasks=len(tasks),
            round_samples=round_samples,
            max_share=config.impact.max_share,
        ),
        max_coordinates=config.impact.max_coordinates,
        labels=config.impact.labels,
        domain_gradients=config.impact.domain_gradients,
        within=config.impact.metric,
        seed=config.seed,
    )
