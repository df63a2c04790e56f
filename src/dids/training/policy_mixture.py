"""A policy by its name in a Trainer of one's own: impact measured on the model that trains there.

`dids run` has a proxy and features; here the model itself is all there is. Tasks are the Trainer's
evaluation sets that have names.

Axis letters: k domains, t tasks, n samples.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from transformers import TrainerControl, TrainerState

from dids import __version__
from dids.atomic import read_json
from dids.data.domain_dataset import token_lengths
from dids.errors import InputError
from dids.gradients.losses import predicts_next_tokens, sees_what_it_predicts
from dids.impact.by_name import impact_by_name
from dids.impact.estimate import ImpactEstimator
from dids.impact.matrices import ImpactMatrices
from dids.impact.measuring_budget import MeasuringBudget
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import Needs, Policy, Searches, make_policy, needs_of
from dids.sampling.domain_samples import AtEnd
from dids.sampling.sampler import MixtureSampler
from dids.sampling.token_unit import Unit, sample_shares
from dids.training.domain_mixture import DomainMixture
from dids.training.drawn import drawn
from dids.training.history import History
from dids.training.mixture_view import Weights
from dids.training.round_plan import RoundPlan
from dids.training.rounds import MixtureRounds
from dids.training.run_arguments import RunArguments
from dids.training.trainer_data import TrainerData
from dids.training.trainer_measuring import TrainerMeasuring, check_at_least


class PolicyMixture(DomainMixture):
    """Which domains a Trainer draws from, as a policy has it by what is measured while it trains.

    What `dids run` does between its rounds, in a Trainer, TRL script or subclass of one's own, with
    `DidsMixin`. The domains' gradients are by-products of the training steps. Tasks are the
    evaluation sets that the Trainer is given by name (``eval_dataset={"sums": ...}``), prepared and
    collated as the Trainer does it; keep what the model is tested on apart from them.

    Args:
        sizes: Samples of each domain, which lie one behind the other in the training set.
        policy: A name (docs/policies.md), or ``module:Class``.
        settings: The policy's own settings.
        tasks: Which evaluation sets are tasks, and what each weighs. None: all that have a name,
            alike.
        prior: The mixture of someone who knows nothing, all weights above zero. None: uniform.
        rounds: The mixture changes at most so often, evenly over the run.
        floor: Least share of every domain, as a fraction of its uniform share.
        metric: What steps of domains and tasks are compared in, where the policy does not say:
            ``fisher``, ``damped``, ``step`` or ``plain``.
        overhead: Cost of measuring over the cost of training, at most, where the run is not too
            short for the policy's least number of measurements: decides how often and on how many
            samples.
        first_overhead: The same of the measurement before the first step, which says most: 48
            samples of each domain and 128 of each task, or as many as that pays for.
        task_samples: Validation samples of each task at each later measurement, at most.
        validation_samples: Samples of each task whose loss is followed: the same ones every time.
        max_coordinates: Parameters in the inner products; None for all.
        measure_first: Whether impact is measured before the first step. What it says of a model
            that has learnt nothing yet is worth nothing: give False there.
        first_impact: What was measured on another model instead: the ``impact.json`` of a run
            folder with these domains and tasks.
        unit: Whether weights are shares of samples or of tokens.
        max_repeats: How often the samples of a domain may be drawn again; domains that are not
            named have no limit.
        at_end: ``renormalise`` or ``stop`` for domains with a limit.
        lengths: Tokens of every sample. None: those of its ``input_ids``.
        lag: As `DomainMixture` has it.
        seed: Of the samples' order and of the choice of what is measured; None is the Trainer's
            ``data_seed``, or ``seed``.

    Raises:
        InputError: If names do not fit each other, there is no such policy, it needs what only
            `dids run` has (runs before the run, features, a reference model), or a number is none
            that can be.
    """

    takes_data = True

    def __init__(
        self,
        sizes: Mapping[str, int],
        *,
        policy: str = "dids",
        settings: Mapping[str, Any] | None = None,
        tasks: Mapping[str, float] | None = None,
        prior: Weights | None = None,
        rounds: int = 25,
        floor: float = 0.25,
        metric: str = "fisher",
        overhead: float = 0.02,
        first_overhead: float = 0.1,
        task_samples: int = 8,
        validation_samples: int = 32,
        max_coordinates: int | None = 125_000,
        measure_first: bool = True,
        first_impact: Path | str | None = None,
        unit: Unit = "samples",
        max_repeats: Mapping[str, int | None] | None = None,
        at_end: Mapping[str, AtEnd] | None = None,
        lengths: np.ndarray | int | None = None,
        lag: int | None = None,
        seed: int | None = None,
    ) -> None:
        uniform = dict.fromkeys(sizes, 1.0 / max(1, len(sizes)))
        super().__init__(
            uniform if prior is None else prior,
            sizes,
            unit=unit,
            max_repeats=max_repeats,
            at_end=at_end,
            lengths=lengths,
            lag=lag,
            seed=seed,
        )
        if (self._start <= 0.0).any():
            name = self.domain_names[int(np.argmin(self._start))]
            raise InputError(f"prior: '{name}' has no share, so nothing could be learnt of it; "
                             "leave the domain out of the training set.")  # fmt: skip
        check_at_least(1, rounds=rounds)
        if not 0.0 <= floor <= 1.0:
            raise InputError(f"floor must be from 0 to 1, but it is {floor!r}.")
        self._name, self._settings = policy, dict(settings or {})
        made = self._new_policy()
        _refuse_what_needs_a_run(policy, made)
        self._needs, self._needs_impact = needs_of(made), made.needs_impact
        self._task_weights = None if tasks is None else _checked_weights(tasks)
        self._num_rounds = rounds
        self._floor = floor
        self._measuring = TrainerMeasuring(
            within=self._needs.metric or metric,
            overhead=overhead,
            first_overhead=first_overhead,
            task_samples=task_samples,
            validation_samples=validation_samples,
            max_coordinates=max_coordinates,
            measures_first=measure_first and first_impact is None and self._needs_impact,
        )
        self._first_impact = (
            None
            if first_impact is None
            else _impact_in(Path(first_impact), self.domain_names, self._measuring.within)
        )
        self._data: TrainerData | None = None
        self._rounds: MixtureRounds | None = None
        self._output_dir = ""
        self._rounds_state: Mapping[str, Any] | None = None

    @property
    def history(self) -> History:
        """Mixtures and why, impact, task losses, and what measuring took; plain JSON values.

        Raises:
            InputError: Before the training.
        """
        if self._rounds is None:
            raise InputError("the mixture has no history yet: it begins with the training.")
        return self._rounds.history

    def result(self) -> dict[str, Any]:
        """What a report shows of the run so far, as plain values: `dids.report.RunRecord` reads it.

        Raises:
            InputError: Before the training.
        """
        history, steps, sizes = self.history, self._step, self.domains.sizes
        ids = self._trainer_data.members
        tokens_k = np.array([int(self.sampler.lengths(ids_m).sum()) for ids_m in ids])
        mixtures = history.mixtures(self.domain_names)
        sizes_k = self.domains.sizes_k
        account = drawn(self.sampler, mixtures, self.domain_names, sizes_k, tokens_k, steps)
        limits = zip(sizes, tokens_k.tolist(), self.domains.max_repeats, strict=True)
        return {
            "dids": __version__,
            "seed": self.sampler.seed,
            "tokens": account["tokens"],
            "steps": steps,
            "budget_tokens": None,
            "tasks": {
                task: {"test_loss": None, "validation_history": points}
                for task, points in history.task_losses.items()
            },
            "mixture": history.mixture,
            "impact": history.impact,
            "domains": {
                name: {
                    "samples": sizes[name],
                    "tokens": tokens,
                    "source_counts": {name: sizes[name]},
                    "max_repeats": most,
                    **account["domains"][name],
                }
                for name, tokens, most in limits
            },
            "overhead": history.overhead,
            "overhead_allowed": self._measuring.overhead_allowed,
            "time_s": {"train": history.training_s},
            "config": {
                "run": self._output_dir,
                "mixture": {
                    "policy": self._name,
                    "settings": self._settings,
                    "rounds": self._num_rounds,
                    "floor": self._floor,
                },
                "tasks": {task: {"weight": w} for task, w in self._weight_by_task().items()},
                "impact": {
                    "metric": self._measuring.within,
                    "overhead": self._measuring.overhead,
                    "first_overhead": self._measuring.first_overhead,
                },
            },
        }

    @property
    def reads_losses(self) -> bool:
        """Whether the policy looks at what training shows of the domains."""
        return self._needs.losses

    @property
    def reads_gradients(self) -> bool:
        """Whether the policy needs impact, and the domains' gradients are by-products."""
        return self._rounds is not None and self._rounds.reads_gradients

    def sampler_for(self, args: RunArguments, dataset: Any) -> MixtureSampler:  # noqa: ANN401
        """The sampler of a run with these arguments, made at the first call.

        Raises:
            InputError: If DeepSpeed has the parameters, or one process several devices.
        """
        num_devices = getattr(args, "n_gpu", 1)
        if num_devices > 1:
            raise InputError(
                f"training: one process has {num_devices} GPUs and would divide each batch over "
                "copies of the model, whose gradients cannot be read; start a process for each "
                f"(torchrun --nproc-per-node {num_devices} ..., or accelerate launch), or show it "
                "one (CUDA_VISIBLE_DEVICES=0)."
            )
        if args.deepspeed is not None:
            raise InputError(
                "training: DeepSpeed keeps parameters and gradients where impact cannot be "
                "measured; train with DDP or FSDP2, or with a DomainMixture."
            )
        return super().sampler_for(args, dataset)

    def take_data(
        self,
        dataset: Any,  # noqa: ANN401
        tasks: Mapping[str, Any],
        collate: Callable[[list[Any]], Any],
    ) -> None:
        """Take what there is to measure on, as the Trainer has prepared it.

        Raises:
            InputError: If the policy needs tasks and there are none, an evaluation set cannot be
                read by number or has nothing scored, or batches are not a row a sample.
        """
        self.domains_of(dataset)  # refuses one whose samples are not those of the domains
        names, needs = self._names_of_tasks(tasks), self._needs
        if not names and (self._needs_impact or needs.task_losses or needs.brackets):
            raise InputError(
                f"policy '{self._name}' measures on tasks: give the Trainer evaluation sets by "
                'name, eval_dataset={"sums": ...}, which are not those that the model is tested on.'
            )
        if self._lengths is None:
            self._lengths = token_lengths(dataset)
        known = self._lengths if isinstance(self._lengths, np.ndarray) else None
        self._data = TrainerData.of(
            dataset, self.domains.sizes_k, {name: tasks[name] for name in names}, collate, known
        )

    def set_mixture(self, mixture: Weights) -> int:
        """Let a mixture hold as soon as no loader can have read past it; on every rank alike.

        The policy's next one takes its place.

        Returns:
            The first step with this mixture.

        Raises:
            InputError: If names or weights are wrong, or no training has begun.
        """
        if self._rounds is None:
            raise InputError(
                "the mixture can be set by hand once the training has begun, in on_step_begin or "
                "later; until then give it as prior."
            )
        start_step = super().set_mixture(mixture)
        self._rounds.remember_by_hand(self.domains.weights(mixture), start_step, self._step)
        return start_step

    def collecting(
        self, inputs: Mapping[str, Any], per_token: Callable[[], float]
    ) -> AbstractContextManager[None]:
        """Inside, a backward pass of training adds to its domains' gradients."""
        if self._rounds is None:
            return nullcontext()
        # A column of that name is the data set's own, whatever it numbers.
        seen = {name: value for name, value in inputs.items() if name != "sample"}
        return self._rounds.collecting(seen, per_token)

    def scalars(self, step: int) -> dict[str, float]:
        """The mixture of the step just done, epochs by domain, round and cost of measuring."""
        scalars = super().scalars(step)
        if self._rounds is None:
            return scalars
        # Losses of tasks are the Trainer's own, of whole evaluation sets.
        own = self._rounds.scalars(step).items()
        return {**scalars, **{name: value for name, value in own if name.startswith("run/")}}

    def on_train_begin(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure for the first mixture, or go on where the checkpoint was taken."""
        model: nn.Module = kwargs["model"]
        _refuse_unreadable(model)
        super().on_train_begin(args, state, control, **kwargs)
        self._output_dir = str(args.output_dir)
        self._rounds = rounds = self._new_rounds(args, state.max_steps, model)
        if state.global_step == 0:
            self._know_the_first(rounds, args, state.max_steps, model)
            self.sampler.set_mixture(rounds.first_mixture(), 0)
        elif self._rounds_state is None:
            raise InputError(
                f"the checkpoint of step {state.global_step} was written without a policy's "
                "measurements; go on with the mixture that it was written with."
            )
        else:
            planned = self._rounds_state.get("nominal_steps", state.max_steps)
            if planned != state.max_steps:
                raise InputError(
                    f"the checkpoint of step {state.global_step} is of a run of {planned} steps, "
                    f"and max_steps is {state.max_steps} now; a policy's rounds are parts of the "
                    "run, so it goes on with the steps that it began with."
                )
            rounds.checkpoint = self.checkpoint_of(args, state)
            rounds.resume_from(self._rounds_state)
        rounds.on_train_begin(args, state, control, **kwargs)

    def on_step_begin(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say which step's gradients come next."""
        super().on_step_begin(args, state, control, **kwargs)
        self._under_way.on_step_begin(args, state, control, **kwargs)

    def on_step_end(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Measure where a round ends, and change the mixture."""
        control = super().on_step_end(args, state, control, **kwargs)
        return self._under_way.on_step_end(args, state, control, **kwargs)

    def on_log(
        self,
        args: RunArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the training loss."""
        if self._rounds is not None:
            self._rounds.on_log(args, state, control, logs, **kwargs)

    def on_train_end(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop the clock."""
        self._under_way.finish()

    def save_beside(self, checkpoint: Path) -> None:
        """Keep what was added up within the round."""
        self._under_way.save_beside(checkpoint)

    def state_dict(self, step: int) -> dict[str, Any]:
        """Sampler, policy, history and where the rounds are; JSON-able."""
        own = super().state_dict(step)
        if self._rounds is None:
            return own
        rounds = self._rounds.state_dict(step)
        del rounds["sampler"]  # it is among its own
        return {**own, "rounds": rounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        super().load_state_dict(state)
        rounds = state.get("rounds")
        self._rounds_state = None if rounds is None else {**rounds, "sampler": state["sampler"]}

    @property
    def _under_way(self) -> MixtureRounds:
        assert self._rounds is not None, "the Trainer calls on_train_begin first"
        return self._rounds

    def _new_policy(self) -> Policy:
        return make_policy(self._name, **self._settings)

    def _names_of_tasks(self, given: Mapping[str, Any]) -> list[str]:
        names = self._asked_tasks(given)
        if self._first_impact is None:
            return names
        known = list(self._first_impact.task_names)
        if set(known) != set(names):
            raise InputError(
                f"first_impact was measured on the tasks {', '.join(known)}, but the Trainer's are "
                f"{', '.join(names) or 'none'}; they must be the same."
            )
        return known

    def _asked_tasks(self, given: Mapping[str, Any]) -> list[str]:
        if self._task_weights is None:
            return list(given)
        missing = [name for name in self._task_weights if name not in given]
        if missing:
            raise InputError(
                f"tasks: there is no evaluation set '{missing[0]}'; the Trainer has "
                f"{', '.join(given) or 'none that has a name'}."
            )
        return list(self._task_weights)

    def _new_rounds(self, args: RunArguments, num_steps: int, model: nn.Module) -> MixtureRounds:
        data = self._trainer_data
        num_domains = len(data.members)
        run_tokens = self._run_samples(num_steps) * self._mean_tokens()
        num_rounds = min(self._num_rounds, num_steps)
        estimator = None
        if data.tasks:
            budget = self._measuring.round_budget(
                data,
                model,
                self._needs,
                run_tokens=run_tokens,
                num_rounds=num_rounds,
                mean_tokens=self._mean_tokens(),
                micro_batch=args.train_batch_size,
            )
            estimator = self._estimator(args, budget)
        assert self._lag is not None
        rounds = MixtureRounds(
            sampler=self.sampler,
            policy=self._new_policy(),
            estimator=estimator,
            plan=RoundPlan(
                budget_tokens=None,
                num_rounds=num_rounds,
                apply_lag=self._lag,
                nominal_steps=num_steps,
                training_flops=6.0 * sum(p.numel() for p in model.parameters()) * run_tokens,
                expected_tokens=run_tokens,
            ),
            limits=MixtureLimits.with_floor(num_domains, self._floor),
            domain_names=self.domain_names,
            domain_of_sample=np.repeat(np.arange(num_domains), self.domains.sizes_k),
            task_weights=np.array(list(self._weight_by_task().values())),
            sizes=self.domains.sizes_k,
            scored_tokens=data.scored_tokens_k
            / (data.tokens_k if self.domains.unit == "tokens" else 1.0),
            initial_impact=None,
            prior=self._start,
            saves=False,
        )
        self.losses.with_confidence = self._needs.confidence
        rounds.losses = self.losses
        return rounds

    def _weight_by_task(self) -> dict[str, float]:
        """Summing to 1; none without tasks."""
        tasks, weights = self._trainer_data.tasks, self._task_weights
        given = {task: 1.0 if weights is None else weights[task] for task in tasks}
        total = sum(given.values())
        return {task: weight / total for task, weight in given.items()}

    def _estimator(self, args: RunArguments, budget: MeasuringBudget) -> ImpactEstimator:
        return self._measuring.estimator(
            self._trainer_data,
            self.domain_names,
            budget,
            self._needs,
            batch_size=args.train_batch_size,
            seed=self._seed_of(args),
        )

    def _know_the_first(
        self, rounds: MixtureRounds, args: RunArguments, num_steps: int, model: nn.Module
    ) -> None:
        """Impact before the first step, for the first mixture."""
        history = rounds.history
        if self._measuring.measures_first:
            began_s = time.perf_counter()
            run_samples = self._run_samples(num_steps)
            budget = self._measuring.first_budget(self._trainer_data, run_samples)
            measured = self._estimator(args, budget).measure(model, None, index=0)
            rounds.initial_impact = measured.matrices
            history.num_gradient_samples += measured.num_gradient_samples
            took_s = time.perf_counter() - began_s
            history.measuring_s += took_s
            history.training_s += took_s
        elif self._needs_impact:
            rounds.initial_impact = self._first_impact
        if rounds.initial_impact is not None:
            history.impact.append({"round": 0, "step": 0, **impact_by_name(rounds.initial_impact)})

    @property
    def _trainer_data(self) -> TrainerData:
        if self._data is None:
            raise InputError(
                "a PolicyMixture needs DidsMixin before the Trainer, class MyTrainer(DidsMixin, "
                "Trainer), or DidsTrainer, or without a Trainer a PolicyLoop."
            )
        return self._data

    def _run_samples(self, num_steps: int) -> int:
        return self.sampler.batch_size * num_steps

    def _mean_tokens(self) -> float:
        """Of a sample, by the prior."""
        tokens_k = self._trainer_data.tokens_k
        shares_k = self._start
        if self.domains.unit == "tokens":
            shares_k = sample_shares(self._start, tokens_k)
        return float(shares_k @ tokens_k)


def _impact_in(path: Path, domain_names: list[str], metric: str) -> ImpactMatrices:
    """The impact that a run has measured on these domains."""
    try:
        found = ImpactMatrices.from_json(read_json(path)["matrices"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"first_impact: {path} holds no impact ({type(error).__name__}: {error}); "
            "`dids impact` writes impact.json into a run folder."
        ) from None
    if list(found.domain_names) != domain_names:
        raise InputError(
            f"first_impact: {path} has the domains {', '.join(found.domain_names)}, in this order, "
            f"but sizes has {', '.join(domain_names)}."
        )
    if found.within != metric:
        raise InputError(
            f"first_impact: {path} was measured in the metric '{found.within}', but what follows "
            f"would be in '{metric}'."
        )
    return found


def _refuse_what_needs_a_run(name: str, policy: Policy) -> None:
    needs: Needs = needs_of(policy)
    missing = {
        "runs before the run": isinstance(policy, Searches),
        "gradient features": needs.features,
        "a reference model": needs.reference,
    }
    for what, is_needed in missing.items():
        if is_needed:
            raise InputError(f"policy '{name}' needs {what}, which only `dids run` has; "
                             "'dids' needs none.")  # fmt: skip


def _refuse_unreadable(model: nn.Module) -> None:
    """Refuse models whose gradients or losses are not those of samples' next tokens."""
    if not predicts_next_tokens(model) or sees_what_it_predicts(model):
        raise InputError(
            f"training: impact is measured on what comes next after each token, but "
            f"{type(model).__name__} predicts something else, or sees it; train a causal language "
            "model, or go by a DomainMixture."
        )
    adapters = getattr(model, "active_peft_config", None)
    if getattr(adapters, "is_prompt_learning", False):
        raise InputError(
            f"training: {type(adapters).__name__} learns a prompt for all samples, whose gradient "
            "cannot be told apart by sample; train LoRA adapters or the model, or go by a "
            "DomainMixture."
        )


def _checked_weights(tasks: Mapping[str, float]) -> dict[str, float]:
    weights = {name: float(weight) for name, weight in tasks.items()}
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0.0):
            raise InputError(f"tasks: the weight of '{name}' must be 0 or more, got {weight}.")
    if weights and sum(weights.values()) <= 0.0:
        raise InputError("tasks: all weights are 0; at least one task must count.")
    return weights
