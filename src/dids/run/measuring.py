"""What measures impact in a run, how much it may take, and what was known before training."""

from dids.atomic import read_json
from dids.config import Config
from dids.config.batch import per_device
from dids.config.schema import ImpactConfig
from dids.domains.regrouping import Regrouping
from dids.impact.blockwise_products import Within
from dids.impact.estimate import ImpactEstimator
from dids.impact.matrices import ImpactMatrices
from dids.impact.measuring_budget import MeasuringBudget, padding
from dids.mixture.policy import Policy, needs_of
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
    work: Workspace,
    budget: MeasuringBudget,
    metric: Within | None = None,
    *,
    policy: Policy | None = None,
) -> ImpactEstimator:
    """The estimator of this run.

    Args:
        work: The run.
        budget: Samples of a measurement.
        metric: Another than the config's, where a policy needs it.
        policy: Whom it is measured for. None: the run's.
    """
    config, data = work.config, work.domain_data
    needs = needs_of(config.mixture.new_policy() if policy is None else policy)
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
        robust_tasks=config.impact.robust_tasks and needs.robust_tasks,
    )


def least_measurements(config: Config) -> int:
    """How many a run makes even where it is too short for them, the control's looks included."""
    if config.impact.min_measurements is not None:
        return config.impact.min_measurements
    return needs_of(config.mixture.new_policy()).measurements


def round_budget(work: Workspace, num_parameters: int) -> MeasuringBudget:
    """What measuring may take in a round of training a model with so many parameters."""
    config = work.config
    if config.impact.overhead is None:
        return every_round(work)
    lengths = [work.task_dataset(task, "validation").lengths for task in work.scored_tasks]
    return MeasuringBudget.for_overhead(
        config.impact.overhead,
        least_measurements=least_measurements(config),
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


def every_round(work: Workspace) -> MeasuringBudget:
    """What measuring may take in a round where no overhead is given."""
    return in_a_round(work.config, *_sizes(work))


def before_training(work: Workspace) -> MeasuringBudget:
    """What measuring may take on the proxy."""
    return on_the_proxy(work.config, *_sizes(work))


def in_a_round(
    config: Config, num_domains: int, num_tasks: int, run_samples: float
) -> MeasuringBudget:
    """The samples of a round that the config asks for, as far as it allows them.

    Args:
        config: As resolved.
        num_domains: Domains.
        num_tasks: Tasks that count.
        run_samples: Samples that the whole run trains on.
    """
    impact = config.impact
    measured = 0 if impact.domain_gradients == "training" else num_domains
    asked = impact.domain_samples, impact.task_samples
    return _within(impact, asked, measured, num_tasks, run_samples / config.mixture.rounds)


def on_the_proxy(
    config: Config, num_domains: int, num_tasks: int, run_samples: float
) -> MeasuringBudget:
    """The samples before training: many where a small model stands in for the one that is trained.

    Args:
        config: As resolved.
        num_domains: Domains.
        num_tasks: Tasks that count.
        run_samples: Samples that the whole run trains on.
    """
    impact = config.impact
    if not config.has_own_proxy:
        return in_a_round(config, num_domains, num_tasks, run_samples)
    asked = impact.proxy_domain_samples, impact.proxy_task_samples
    return _within(impact, asked, num_domains, num_tasks, run_samples)


def _within(
    impact: ImpactConfig,
    asked: tuple[int, int],
    num_domains: int,
    num_tasks: int,
    trained_samples: float,
) -> MeasuringBudget:
    """Samples asked of a domain and of a task, held to their share of those trained on."""
    domain_samples, task_samples = asked
    return MeasuringBudget.within(
        domain_samples=domain_samples,
        task_samples=task_samples,
        validation_samples=impact.validation_samples,
        num_domains=num_domains,
        num_tasks=num_tasks,
        trained_samples=int(trained_samples),
        max_share=impact.max_share,
    )


def _sizes(work: Workspace) -> tuple[int, int, float]:
    run_samples = work.config.budget.tokens / float(work.dataset.lengths.mean())
    return len(work.domain_data.names), len(work.scored_tasks), run_samples
