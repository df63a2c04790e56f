"""The rounds of a run: at the end of each, impact is measured and the next mixture is set.

A round is a fixed number of tokens. A policy that needs it is asked within rounds, too, about what
training itself has shown. The change takes effect a computed number of steps later (the
apply lag: loaders read ahead), so that the stream of samples does not depend on how it is loaded.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.optim import Optimizer
from transformers import TrainerControl, TrainerState

from dids.data.domain_dataset import DomainDataset
from dids.impact.by_name import impact_by_name
from dids.impact.matrices import ImpactMatrices
from dids.mixture.limits import MixtureLimits
from dids.mixture.policy import FeatureSamples, Observation, Policy, needs_of
from dids.sampling.sampler import MixtureSampler
from dids.steering.follower import SteeringFollower
from dids.steering.resolved import ResolvedSteering
from dids.training.collected_gradients import CollectedGradients
from dids.training.decided_mixture import decided_mixture
from dids.training.history import History
from dids.training.mixture_callback import MixtureCallback
from dids.training.pace import Pace
from dids.training.round_plan import MeasuresImpact, RoundPlan
from dids.training.run_arguments import RunArguments


class MixtureRounds(MixtureCallback):
    """Ends rounds and runs, changes the mixture after what was measured, keeps the history.

    Args:
        sampler: Draws the samples; its mixture is set here.
        policy: Makes the next mixture.
        estimator: Measures impact and task losses. None: neither is measured.
        plan: Length of the run and of its rounds.
        limits: Bounds on every mixture.
        domain_names: Of the sampler's domains.
        domain_of_sample: Number of the domain of each sample; -1 for one in none.
        task_weights: One weight a task, or None without tasks.
        sizes: Samples of each domain.
        scored_tokens: Mean scored tokens of each domain's samples: the loss is a mean over tokens.
        initial_impact: Measured before the run (on the proxy), for the first mixture.
        prior: The mixture to start from and to fall back on.
        is_scored: Whether each sample has a scored token. None: all have.
        grouping: How often the domains were regrouped since the run began.
        steering: Asked at every round for the limits, prior and task weights that hold from then
            on. None: those given hold throughout.
        features: Samples of the gradient features, for a policy that needs them.
        reference: A model that the domains' losses are compared with, for a policy that needs one.
        on_step: Called after every step with the fraction of the run that it did.
        saves: Whether every round ends with a checkpoint.
    """

    refuses_bad_losses = True

    def __init__(
        self,
        *,
        sampler: MixtureSampler,
        policy: Policy,
        estimator: MeasuresImpact | None,
        plan: RoundPlan,
        limits: MixtureLimits,
        domain_names: Sequence[str],
        domain_of_sample: np.ndarray,
        task_weights: np.ndarray,
        sizes: np.ndarray,
        scored_tokens: np.ndarray,
        initial_impact: ImpactMatrices | None,
        prior: np.ndarray,
        is_scored: np.ndarray | None = None,
        grouping: int = 0,
        steering: SteeringFollower | None = None,
        features: FeatureSamples | None = None,
        reference: nn.Module | None = None,
        on_step: Callable[[float], None] | None = None,
        saves: bool = True,
    ) -> None:
        super().__init__(list(domain_names))
        self.sampler = sampler
        self.policy = policy
        self.needs = needs_of(policy)
        self.losses.reference = reference if self.needs.reference else None
        self.losses.with_confidence = self.needs.confidence
        self.features = features
        self.estimator = estimator
        self.plan = plan
        self.limits = limits
        self.domain_of_sample = domain_of_sample
        self.task_weights = task_weights
        self.sizes = sizes
        self.scored_tokens = scored_tokens
        self.initial_impact = initial_impact
        self.prior = prior
        self.grouping = grouping
        self.regroupings: list[dict[str, Any]] = []
        self.steering = steering
        self.on_step = on_step
        self.saves = saves
        self.history = History()
        self.pace = Pace()
        self.round = 0
        self.gradients: CollectedGradients | None = None
        if estimator is not None and policy.needs_impact:
            is_scored = np.ones(len(domain_of_sample), bool) if is_scored is None else is_scored
            self.gradients = CollectedGradients(
                estimator, sampler, domain_of_sample, is_scored, grouping
            )
        self._steered: ResolvedSteering | None = None
        self._began_s = time.perf_counter()
        self._shown = 0.0

    @property
    def reads_losses(self) -> bool:
        """Whether the policy looks at what training shows of the domains."""
        return self.needs.losses

    @property
    def reads_gradients(self) -> bool:
        """Whether the policy needs impact, and the domains' gradients are by-products."""
        return self.gradients is not None

    def first_mixture(self) -> np.ndarray:
        """The mixture of the first round, from what is known before the run."""
        self._steer(0, 0)
        seen = self._observation(0, 0, self.initial_impact, self.prior)
        decision = decided_mixture(self.policy, seen)
        self._remember(decision.mixture, 0, 0, decision.explanation)
        return decision.mixture

    def remember_by_hand(self, mixture: np.ndarray, start_step: int, step: int) -> None:
        """Keep a mixture that neither the policy nor steering has made, after so many steps."""
        tokens = self.sampler.tokens(step)
        self._remember(mixture, start_step, tokens, {"note": "set by hand"})

    def sampler_for(self, args: RunArguments, dataset: object) -> MixtureSampler:
        """The sampler that was given."""
        return self.sampler

    def domains_of(self, dataset: object) -> DomainDataset:
        """The data set with the domain in its items."""
        return DomainDataset(dataset, self.domain_of_sample)

    def token_schedule(self) -> tuple[int, Callable[[int], float]]:
        """The learning rate follows tokens."""
        return self.plan.nominal_steps, self.progress

    def scalars(self, step: int) -> dict[str, float]:
        """The mixture of the step just done, each task's newest validation loss, and the cost."""
        run = {
            "run/round": float(self.round),
            "run/tokens_per_s": self.pace.tokens_per_s,
            "run/overhead": self.overhead(),
        }
        return {
            **self.shares(self.sampler, step),
            **{f"task_loss/{t}": points[-1][1] for t, points in self.history.task_losses.items()},
            **{name: value for name, value in run.items() if value is not None},
        }

    def progress(self, step: int) -> float:
        """Fraction of the run that is over when a step (counted from 0) begins."""
        if self.plan.budget_tokens is not None:
            return self.sampler.tokens(step) / self.plan.budget_tokens
        return step / self.plan.nominal_steps

    def is_over(self, step: int) -> bool:
        """Whether the run ends after so many steps: with its budget, or with its data."""
        return self.progress(step) >= 1.0 or not self.sampler.has_step(step)

    def on_train_begin(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock; a new run first sees what the tasks' losses are before any training."""
        super().on_train_begin(args, state, control, **kwargs)
        self._began_s = time.perf_counter()
        self.pace.look(self._began_s, self.sampler.tokens(state.global_step))
        if state.global_step == 0:
            self._look_at_the_tasks(0, kwargs["model"])
        if self.gradients is not None:
            resumed_from = self.checkpoint if state.global_step > 0 else None
            self.gradients.begin(kwargs["model"], len(self.history.impact), resumed_from)

    def on_step_begin(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say which step's gradients come next."""
        if self.gradients is not None:
            self.gradients.begin_step(state.global_step, self.round)

    def collecting(
        self, inputs: Mapping[str, Any], per_token: Callable[[], float]
    ) -> AbstractContextManager[None]:
        """Inside, a backward pass of training adds to its domains' gradients."""
        if self.gradients is None:
            return nullcontext()
        return self.gradients.collecting(inputs, per_token)

    def on_step_end(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """End the run or the round when its tokens are used up."""
        step = state.global_step
        self.pace.look(time.perf_counter(), self.sampler.tokens(step))
        done = self.progress(step)
        if self.on_step is not None:
            self.on_step(min(1.0, done) - self._shown)
            self._shown = min(1.0, done)
        super().on_step_end(args, state, control, **kwargs)
        is_over = self.is_over(step)
        if is_over:
            control.should_training_stop = True
            self._look_at_the_tasks(step, kwargs["model"])
        elif self.steering is not None:
            self.steering.look(self.round)
        round_ended = int(done * self.plan.num_rounds) > self.round
        if round_ended and not is_over:
            self.round = int(done * self.plan.num_rounds)
            self._end_round(step, kwargs["model"], kwargs["optimizer"])
            control.should_save = control.should_save or self.saves
        elif not is_over and self._is_asked_within(step):
            self._ask_within(step, kwargs["model"])
        return control

    def on_log(
        self,
        args: RunArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the training loss."""
        if logs is not None and "loss" in logs:
            self.history.training_losses.append((state.global_step, float(logs["loss"])))

    def state_dict(self, step: int) -> dict[str, Any]:
        """Everything that a resumed run needs besides the Trainer's own checkpoint; JSON-able."""
        self._stop_clock()
        return {
            "step": step,
            "tokens": self.sampler.tokens(step),
            "round": self.round,
            "apply_lag": self.plan.apply_lag,
            "nominal_steps": self.plan.nominal_steps,
            "grouping": self.grouping,
            "regroupings": self.regroupings,
            "sampler": self.sampler.state_dict(step),
            "policy": self.policy.state_dict(),
            "history": self.history.to_json(),
        }

    def save_beside(self, checkpoint: Path) -> None:
        """Keep what was added up within the round."""
        if self.gradients is not None:
            self.gradients.save(checkpoint)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self.round = state["round"]
        # Other workers may read less far ahead; with the lag of before, decisions act when they
        # would have.
        saved = state.get("apply_lag", 0)
        self.plan = replace(
            self.plan,
            apply_lag=max(saved, self.plan.apply_lag),
            # Other domains have other mean lengths; the learning rate goes on as it was planned.
            nominal_steps=state.get("nominal_steps", self.plan.nominal_steps),
        )
        self.regroupings = list(state.get("regroupings", []))
        self.sampler.load_state_dict(state["sampler"])
        self.policy.load_state_dict(state["policy"])
        self.history = History.from_json(state["history"])
        self._steer(state["step"], self.sampler.tokens(state["step"]))

    def finish(self) -> History:
        """The whole history, at the end of the run."""
        self._stop_clock()
        return self.history

    def overhead(self) -> float | None:
        """Time for impact and mixture so far, as a fraction of the training's."""
        self._stop_clock()
        return self.history.overhead

    def _stop_clock(self) -> None:
        self.history.measuring_s += self.losses.elapsed_s
        self.losses.elapsed_s = 0.0
        now_s = time.perf_counter()
        self.history.training_s += now_s - self._began_s
        self._began_s = now_s

    def _end_round(self, step: int, model: nn.Module, optimizer: Optimizer) -> None:
        """Set the next mixture where there is something new to make it from."""
        began_s = time.perf_counter()
        tokens = self.sampler.tokens(step)
        is_steered = self._steer(step, tokens)
        is_measured = self.estimator is None or self.estimator.budget.is_measured(self.round)
        matrices = self._measured(step, tokens, model, optimizer) if is_measured else None
        if is_measured or is_steered or self.needs.every_round:
            brackets_kk = None
            if self.needs.brackets and self.estimator is not None:
                brackets_kk = self.estimator.brackets(model, index=self.round)
            self._next_mixture(step, tokens, matrices, brackets_kk)
        self.history.measuring_s += time.perf_counter() - began_s

    def _is_asked_within(self, step: int) -> bool:
        """Whether the policy makes a mixture after a step within a round."""
        every = self.needs.every_steps
        return every is not None and step % self.plan.steps_between(every) == 0

    def _ask_within(self, step: int, model: nn.Module) -> None:
        """Set the next mixture from what training shows."""
        began_s = time.perf_counter()
        tokens = self.sampler.tokens(step)
        if self.needs.task_losses and self.estimator is not None:
            self._follow_task_losses(model, tokens)
        self._next_mixture(step, tokens, None)
        self.history.measuring_s += time.perf_counter() - began_s

    def _steer(self, step: int, tokens: int) -> bool:
        """Take what holds from the round that begins; whether it is something else than before."""
        if self.steering is None:
            return False
        steered = self.steering.for_round(self.round, step=step, tokens=tokens)
        is_other = steered is not self._steered
        self._steered = steered
        self.limits, self.prior = steered.limits, steered.prior
        self.task_weights = steered.task_weights
        return is_other

    def _measured(
        self, step: int, tokens: int, model: nn.Module, optimizer: Optimizer
    ) -> ImpactMatrices | None:
        """Impact and task losses at the end of a round; None where no impact is needed."""
        if self.estimator is None:
            return None
        self._follow_task_losses(model, tokens)
        if not self.policy.needs_impact:
            return None
        measured = self.estimator.measure(
            model,
            optimizer,
            index=self.round,
            # Not by a name of its own, which would keep them beside the next ones.
            training=None if self.gradients is None else self.gradients.sums,
        )
        self.history.num_gradient_samples += measured.num_gradient_samples
        self.history.impact.append(
            {"round": self.round, "step": step, **impact_by_name(measured.matrices)}
        )
        if self.gradients is not None:
            num_measured = len(self.history.impact)
            self.history.measuring_s += self.gradients.begin_anew(model, num_measured)
        return measured.matrices

    def _next_mixture(
        self,
        step: int,
        tokens: int,
        matrices: ImpactMatrices | None,
        brackets_kk: np.ndarray | None = None,
    ) -> None:
        previous = self.sampler.log.entries[-1][1]
        seen = self._observation(step, tokens, matrices, previous)
        if self.reads_losses:
            seen = replace(seen, trained=self.losses.trained_since_last("mixture"))
        decision = decided_mixture(self.policy, replace(seen, brackets_kk=brackets_kk))
        start_step = step + self.plan.apply_lag
        self.sampler.set_mixture(decision.mixture, start_step)
        self._remember(decision.mixture, start_step, tokens, decision.explanation)

    def _look_at_the_tasks(self, step: int, model: nn.Module) -> None:
        if self.estimator is not None:
            began_s = time.perf_counter()
            self._follow_task_losses(model, self.sampler.tokens(step))
            self.history.measuring_s += time.perf_counter() - began_s

    def _follow_task_losses(self, model: nn.Module, tokens: int) -> None:
        assert self.estimator is not None
        for task, loss in self.estimator.task_losses(model).items():
            self.history.task_losses.setdefault(task, []).append((tokens, loss))

    def _remember(
        self, mixture: np.ndarray, step: int, tokens: int, explanation: dict[str, Any]
    ) -> None:
        probability = dict(zip(self.domain_names, mixture.tolist(), strict=True))
        held = zip(self.domain_names, self.limits.held(mixture), strict=True)
        by_limits = {name: limit for name, limit in held if limit is not None}
        if by_limits:
            explanation = {**explanation, "held": by_limits}
        entry = {"round": self.round, "step": step, "tokens": tokens}
        self.history.mixture.append(
            {**entry, "probability": probability, "explanation": explanation}
        )

    def _observation(
        self, step: int, tokens: int, impact: ImpactMatrices | None, previous: np.ndarray
    ) -> Observation:
        return Observation(
            round=self.round,
            step=step,
            tokens=tokens,
            horizon_tokens=self.plan.round_tokens,
            impact=impact,
            task_losses=self.history.task_losses,
            task_weights=self.task_weights,
            sizes_k=self.sizes,
            draws_k=self.sampler.draws_by_domain(step),
            previous=previous,
            prior=self.prior,
            limits=self.limits,
            scored_tokens_k=self.scored_tokens,
            progress=min(1.0, self.progress(step)),
            num_steps=self.plan.nominal_steps,
            training_flops=self.plan.training_flops,
            features=self.features,
            domain_names=tuple(self.domain_names),
        )
