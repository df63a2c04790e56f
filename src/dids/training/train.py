"""One training run under a policy; stopped anywhere, it goes on to the same result."""

import logging
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainingArguments,
)

from dids.atomic import read_json, whole_folder, write_json
from dids.data.dataset import PaddingCollator
from dids.gradients.shards import as_its_own_class, is_sharded, whole_state
from dids.impact.matrices import ImpactMatrices
from dids.impact.preconditioner import optimizer_moments
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import FeatureSamples, Policy
from dids.ranks import from_first_rank, is_true_on_any_rank
from dids.sampling.apply_lag import apply_lag
from dids.sampling.token_unit import Unit, sample_shares
from dids.steering.follower import SteeringFollower
from dids.training.checkpoints import newest_checkpoint
from dids.training.domain_data import DomainData
from dids.training.drawn import drawn
from dids.training.history import History
from dids.training.live import LIVE_NAME, LiveNumbers
from dids.training.lora import without_adapters
from dids.training.quantization import known_to_have_adapters
from dids.training.refusals import refusals_in_one_sentence
from dids.training.regrouping import ordered_domains
from dids.training.resumed_state import resumed_state
from dids.training.round_plan import MeasuresImpact, RoundPlan
from dids.training.rounds import MixtureRounds
from dids.training.sharding import ShardingTrainer
from dids.training.stop_signal import StopAtStep, StoppedError, StopSignal

logger = logging.getLogger(__name__)

HISTORY_NAME = "history.json"
MODEL_NAME = "model"
MOMENTS_NAME = "second_moments.safetensors"
_KEPT_CHECKPOINTS = 2  # the newest may be cut short by a kill; the one before it is whole


@dataclass(frozen=True)
class TrainedRun:
    """What a training run left in its folder."""

    folder: Path
    history: History

    @property
    def model(self) -> Path:
        """Folder of the trained model."""
        return self.folder / MODEL_NAME

    @classmethod
    def load(cls, folder: Path) -> "TrainedRun":
        """Read a finished run."""
        return cls(folder, History.from_json(read_json(folder / HISTORY_NAME)))


def train_model(
    folder: Path,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: DomainData,
    policy: Policy,
    limits: MixtureLimits,
    prior: np.ndarray,
    seed: int,
    arguments: Mapping[str, Any],
    unit: Unit = "samples",
    num_rounds: int = 1,
    budget_tokens: int | None = None,
    num_steps: int | None = None,
    estimator: MeasuresImpact | None = None,
    initial_impact: ImpactMatrices | None = None,
    task_weights: np.ndarray | None = None,
    steering: SteeringFollower | None = None,
    features: FeatureSamples | None = None,
    reference: PreTrainedModel | None = None,
    on_step: Callable[[float], None] | None = None,
    stop: StopSignal | None = None,
) -> TrainedRun:
    """Train a model under a policy, going on from the newest checkpoint in the folder.

    On several ranks every rank calls it alike; the first writes.

    Args:
        folder: Gets the checkpoints, then ``model/`` (a Hugging Face folder), ``history.json``
            and the optimizer's second moments.
        model: Trained in place.
        tokenizer: Saved beside the model; its padding id fills batches.
        data: The samples by domain.
        policy: Makes the mixtures.
        limits: Bounds on every mixture.
        prior: The mixture that the policy starts from.
        seed: Of the order of samples and of the Trainer.
        arguments: ``TrainingArguments`` by their own names.
        unit: What the policy's weights are shares of.
        num_rounds: Mixture changes are considered at the end of each but the last.
        budget_tokens: Length of the run in tokens; or give ``num_steps``.
        num_steps: Length of the run in optimizer steps.
        estimator: Measures impact and task losses between rounds.
        initial_impact: What is known before the first round.
        task_weights: By task, in the estimator's order.
        steering: Says from round to round what limits, prior and task weights are.
        features: Samples of the gradient features, for a policy that needs them.
        reference: Compared with by a policy that needs it.
        on_step: Called after every step with the fraction of the run that it did.
        stop: Ends the run after a step, with a checkpoint, once a signal has come.

    Raises:
        InputError: If the loss stops being a number, the data cannot fill a step, or the newest
            checkpoint was made with another global batch.
        StoppedError: If a signal has come.
    """
    settings = trainer_arguments(folder, arguments, seed)
    world_size = settings.world_size
    batch_size = (
        settings.per_device_train_batch_size * settings.gradient_accumulation_steps * world_size
    )
    # The first rank alone removes what an interrupted run has left.
    checkpoint = from_first_rank(lambda: newest_checkpoint(folder) if folder.exists() else None)
    state = None
    if checkpoint is not None:
        state = resumed_state(
            checkpoint, data, policy, limits, prior, steering, batch_size, seed, unit
        )
    ordered = ordered_domains(data.groupings, state, seed)
    sampler = data.sampler(ordered, prior, batch_size, seed, unit)
    mean_lengths = data.mean_lengths
    shares = prior if unit == "samples" else sample_shares(prior, mean_lengths)
    step_tokens = batch_size * float(shares @ mean_lengths)
    if num_steps is not None:
        nominal_steps = bound = num_steps
        run_tokens = num_steps * step_tokens
    elif budget_tokens is not None:
        nominal_steps = expected_steps(budget_tokens, batch_size, mean_lengths, shares)
        run_tokens = budget_tokens
        if step_tokens > budget_tokens:
            logger.warning(
                "one optimizer step of %s samples has about %s tokens, more than budget.tokens, "
                "%s: the training is one step; make batches smaller, or the budget larger.",
                f"{batch_size:,}",
                f"{step_tokens:,.0f}",
                f"{budget_tokens:,}",
            )
        # No mixture has shorter samples than its shortest domain.
        bound = math.ceil(1.5 * budget_tokens / (batch_size * mean_lengths.min())) + 10
    else:
        raise ValueError("give budget_tokens or num_steps.")
    settings.max_steps = bound
    rounds = MixtureRounds(
        sampler=sampler,
        policy=policy,
        estimator=estimator,
        plan=RoundPlan(
            budget_tokens=budget_tokens if num_steps is None else None,
            num_rounds=num_rounds,
            # As without accumulation, which may follow from the number of processes: on any number
            # of them a mixture holds from the same step on.
            apply_lag=apply_lag(
                settings.dataloader_num_workers, settings.dataloader_prefetch_factor, 1
            ),
            nominal_steps=nominal_steps,
            training_flops=6.0 * model.num_parameters() * run_tokens,
        ),
        limits=limits,
        domain_names=data.names,
        domain_of_sample=data.domain_of_sample,
        task_weights=np.ones(0) if task_weights is None else task_weights,
        sizes=data.sizes,
        scored_tokens=data.mean_scored_tokens / (mean_lengths if unit == "tokens" else 1.0),
        initial_impact=initial_impact,
        prior=prior,
        is_scored=data.dataset.scored_counts > 0,
        grouping=len(data.earlier),
        steering=steering,
        features=features,
        reference=reference,
        on_step=on_step,
    )
    with refusals_in_one_sentence(ImportError, ValueError), known_to_have_adapters(model):
        trainer = ShardingTrainer(
            model=model,
            args=settings,
            train_dataset=data.dataset,
            data_collator=PaddingCollator(int(tokenizer.pad_token_id or 0)),
            mixture=rounds,
            log_domains=rounds.reads_losses or settings.report_to not in ([], ["none"]),
        )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(LiveNumbers(folder / LIVE_NAME, rounds))
    stop = StopSignal() if stop is None else stop
    stopping = StopAtStep(stop)
    trainer.add_callback(stopping)
    if state is not None:
        rounds.resume_from(state)
    else:
        sampler.set_mixture(rounds.first_mixture(), 0)
    with stop.awaited():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if stopping.step is not None:
        raise StoppedError.in_training(stopping.step)
    history = rounds.finish()

    moments = optimizer_moments(model, trainer.optimizer)
    model = without_adapters(model)
    weights = whole_state(model) if is_sharded(model) else None

    def save() -> None:
        if moments is not None:
            moments.save(folder / MOMENTS_NAME)
        with whole_folder(folder / MODEL_NAME) as unfinished:
            with as_its_own_class(model):
                model.save_pretrained(unfinished, state_dict=weights)
            tokenizer.save_pretrained(unfinished)
        steps = trainer.state.global_step
        account = drawn(
            sampler, history.mixtures(data.names), data.names, data.sizes, data.tokens, steps
        )
        write_json(folder / "drawn.json", account)
        write_json(folder / HISTORY_NAME, history.to_json())

    from_first_rank(save)
    if is_true_on_any_rank(stop.has_come):  # too late for a checkpoint: the run is through
        raise StoppedError.at_once()
    return TrainedRun(folder, history)


def expected_steps(
    budget_tokens: int, batch_size: int, mean_length_k: np.ndarray, mixture_k: np.ndarray
) -> int:
    """Optimizer steps that a budget lasts under a mixture.

    Example:
        >>> expected_steps(1000, 2, np.array([100.0, 50.0]), np.array([0.0, 1.0]))
        10
    """
    return max(1, math.ceil(budget_tokens / (batch_size * float(mixture_k @ mean_length_k))))


def trainer_arguments(folder: Path, arguments: Mapping[str, Any], seed: int) -> TrainingArguments:
    """What the Trainer is given.

    Args:
        folder: Of the training.
        arguments: ``TrainingArguments`` by their own names; they go before the package's.
        seed: Of the Trainer.

    Raises:
        InputError: If Transformers refuses them.
    """
    values = {
        "output_dir": str(folder),
        "save_strategy": "no",  # rounds ask for their checkpoints themselves
        "save_total_limit": _KEPT_CHECKPOINTS,
        "disable_tqdm": True,
        "report_to": "none",
        "logging_steps": 20,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "ignore_data_skip": True,  # the sampler starts at the right step by itself
        "seed": seed,
        "use_cpu": not torch.cuda.is_available(),
        "max_steps": 1,
        **deepcopy(dict(arguments)),  # TrainingArguments writes into what it is given
    }
    with refusals_in_one_sentence(ImportError, TypeError, ValueError):
        settings = TrainingArguments(**values)
    # One process that sees several GPUs would divide each batch over copies of the model
    # (DataParallel), whose gradients nobody reads.
    settings._n_gpu = min(1, settings.n_gpu)
    return settings
