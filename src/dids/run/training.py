"""One training run of the run's data under a policy: the run itself, its control, its trials."""

from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedModel

from dids.config.batch import training_arguments
from dids.config.schema import ModelConfig
from dids.mixture.policy import FeatureSamples, Policy, needs_of
from dids.run.feature_samples import feature_samples
from dids.run.measuring import estimator, initial_impact, round_budget
from dids.run.steering import steering_follower
from dids.run.workspace import Workspace
from dids.training.train import TrainedRun, train_model


def trained(
    work: Workspace,
    folder: Path,
    policy: Policy,
    *,
    model_config: ModelConfig,
    budget_tokens: int,
    num_rounds: int,
    is_steered: bool = False,
    reference: PreTrainedModel | None = None,
    on_step: Callable[[float], None] | None = None,
) -> TrainedRun:
    """Train under a policy, or go on where an earlier call stopped; every rank must call it.

    Args:
        work: The run.
        folder: Of this training.
        policy: Makes the mixtures.
        model_config: Of the model that is trained, from its beginning.
        budget_tokens: Length of the training.
        num_rounds: Rounds of equally many tokens.
        is_steered: Whether ``steering.yaml`` is followed; else what it said at the start holds.
        reference: Compared with by a policy that needs it.
        on_step: Called after every step with the fraction of the training that it did.
    """
    config, needs = work.config, needs_of(policy)
    model = work.new_model(model_config)
    num_trained = model.num_parameters(only_trainable=True)
    follower = steering_follower(work)
    steered = follower.at_start()
    # The proxy's impact was measured in the config's metric; one of another is worth nothing.
    is_known = policy.needs_impact and needs.metric in (None, config.impact.metric)
    return train_model(
        folder,
        model=model,
        tokenizer=work.tokenizer,
        data=work.domain_data,
        policy=policy,
        limits=steered.limits,
        prior=steered.prior,
        seed=config.seed,
        arguments=training_arguments(config, work.ranks.num),
        unit=config.mixture.unit,
        num_rounds=num_rounds,
        budget_tokens=budget_tokens,
        estimator=estimator(work, round_budget(work, num_trained), needs.metric, policy=policy),
        initial_impact=initial_impact(work) if is_known else None,
        task_weights=steered.task_weights,
        steering=follower if is_steered else None,
        features=_features(work) if needs.features else None,
        reference=reference,
        on_step=on_step,
        stop=work.stop,
    )


def _features(work: Workspace) -> FeatureSamples:
    """Samples of the features: made by the first rank, which may take long, then read by all."""

    def make() -> None:
        feature_samples(work)

    work.ranks.from_first(make)
    return feature_samples(work)
