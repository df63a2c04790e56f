"""Stage six: impact of every domain on every task before training, measured on the proxy.

It makes the first mixture; during training, impact is measured on the model itself.
"""

from typing import Any

from dids.atomic import read_json, write_json
from dids.domains.regrouping import Regrouping
from dids.impact.estimate import ImpactEstimator
from dids.impact.matrices import ImpactMatrices
from dids.impact.measuring_budget import MeasuringBudget
from dids.impact.preconditioner import SecondMoments
from dids.run.steering import check_steering_file, write_steering_file
from dids.run.workspace import Workspace
from dids.training.rounds import impact_by_name
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
        work.path("impact.json"),
        {
            "grouping": work.domains.grouping,
            "matrices": matrices.to_json(),
            **impact_by_name(matrices),
        },
    )
    return {"num_gradient_samples": measured.num_gradient_samples}


def initial_impact(work: Workspace) -> ImpactMatrices:
    """What this stage measured, in the domains of now."""
    saved = read_json(work.path("impact.json"))
    matrices = ImpactMatrices.from_json(saved["matrices"])
    grouping = saved.get("grouping", 0)
    if grouping == work.domains.grouping:
        return matrices
    before = work.earlier_domains[grouping]
    regrouping = Regrouping.between(
        before.domain_of_sample,
        work.domains.domain_of_sample,
        work.dataset.lengths,
        before.names,
        work.domains.names,
    )
    return matrices.regrouped(regrouping.origin_kj, regrouping.names)


def estimator(work: Workspace, budget: MeasuringBudget) -> ImpactEstimator:
    """The estimator of this run."""
    config, data = work.config, work.domain_data
    return ImpactEstimator(
        dataset=work.dataset,
        members_by_domain=data.members,
        domain_names=data.names,
        tasks={task: work.task_dataset(task, "validation") for task in work.scored_tasks},
        collate=work.collate,
        budget=budget,
        max_coordinates=config.impact.max_coordinates,
        labels=config.impact.labels,
        domain_gradients=config.impact.domain_gradients,
        within=config.impact.metric,
        seed=config.seed,
    )


def round_budget(work: Workspace, num_parameters: int) -> MeasuringBudget:
    """What measuring may take in a round of training a model with so many parameters."""
    config = work.config
    if config.impact.overhead is None:
        return before_training(work)
    lengths = [work.task_dataset(task, "validation").lengths for task in work.scored_tasks]
    return MeasuringBudget.for_overhead(
        config.impact.overhead,
        round_tokens=config.budget.tokens / config.mixture.rounds,
        num_rounds=config.mixture.rounds,
        task_tokens=[float(length_n.mean()) for length_n in lengths],
        task_samples=config.impact.task_samples,
        validation_samples=config.impact.validation_samples,
        num_domains=len(work.domain_data.names),
        kept_share=min(1.0, (config.impact.max_coordinates or num_parameters) / num_parameters),
    )


def before_training(work: Workspace) -> MeasuringBudget:
    """What measuring may take where no overhead is given, and on the proxy before training."""
    config = work.config
    mean_length = float(work.dataset.lengths.mean())
    from_training = config.impact.domain_gradients == "training"
    return MeasuringBudget.within(
        domain_samples=config.impact.domain_samples,
        task_samples=config.impact.task_samples,
        validation_samples=config.impact.validation_samples,
        num_domains=0 if from_training else len(work.domain_data.names),
        num_tasks=len(work.scored_tasks),
        round_samples=int(config.budget.tokens / mean_length / config.mixture.rounds),
        max_share=config.impact.max_share,
    )
