"""What measures impact in a run, how much it may take, and what was known before training."""

from dids.atomic import read_json
from dids.config.batch import per_device
from dids.domains.regrouping import Regrouping
from dids.impact.blockwise_products import Within
from dids.impact.estimate import ImpactEstimator
from dids.impact.matrices import ImpactMatrices
from dids.impact.measuring_budget import MeasuringBudget, padding
from dids.run.workspace import Workspace

IMPACT_NAME = "impact.json"


def initial_impact(work: Workspace) -> ImpactMatrices:
    """What was measured before training, in the domains of now."""
    saved = read_json(work.path(IMPACT_NAME))
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


def estimator(
    work: Workspace, budget: MeasuringBudget, metric: Within | None = None
) -> ImpactEstimator:
    """The estimator of this run; in another metric than the config's, where a policy needs it."""
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
        within=config.impact.metric if metric is None else metric,
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
        least_measurements=config.impact.min_measurements,
        round_tokens=config.budget.tokens / config.mixture.rounds,
        num_rounds=config.mixture.rounds,
        task_tokens=[float(length_n.mean()) for length_n in lengths],
        domain_tokens=float(work.dataset.lengths.mean()),
        task_samples=config.impact.task_samples,
        validation_samples=config.impact.validation_samples,
        num_domains=len(work.domain_data.names),
        kept_share=min(1.0, (config.impact.max_coordinates or num_parameters) / num_parameters),
        padding=padding(work.dataset.lengths, per_device(config)),
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
