"""A mixture by names for a Trainer: fixed, on a schedule, set by hand, or made by a function.

Nothing here measures an impact; that is `dids.training.rounds`.
"""

import logging
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from transformers import TrainerControl, TrainerState

from dids.data.domain_dataset import DomainDataset, token_lengths
from dids.errors import InputError
from dids.sampling.apply_lag import apply_lag
from dids.sampling.domain_samples import AtEnd
from dids.sampling.forecast import DomainForecast
from dids.sampling.mixture_log import MixtureLog
from dids.sampling.sampler import MixtureSampler
from dids.sampling.token_unit import Unit
from dids.sampling.usage import DomainUsage
from dids.training.domain_settings import DomainSettings
from dids.training.mixture_callback import MixtureCallback
from dids.training.mixture_view import MixturePolicy, MixtureView, Weights, answer_of
from dids.training.run_arguments import RunArguments

logger = logging.getLogger(__name__)


class DomainMixture(MixtureCallback):
    """Which domains a Trainer draws from, and how that changes.

    Args:
        mixture: Weight of each domain from the start, summing to 1; zero is allowed.
        sizes: Samples of each domain, which lie one behind the other in the training set.
        schedule: Further mixtures by the step from which they hold.
        policy: Asked for the next mixture every ``every_steps`` steps. It is called on the first
            rank and its answer sent to the others. If it has ``state_dict`` and
            ``load_state_dict``, they go into the checkpoints.
        every_steps: Steps between two questions.
        unit: Whether weights are shares of samples or of tokens.
        max_repeats: How often the samples of a domain may be drawn again; domains that are not
            named have no limit.
        at_end: ``renormalise`` or ``stop`` for domains with a limit.
        lengths: Tokens of every sample. None: those of its ``input_ids``; samples without these
            count as one token, and cannot have shares of tokens.
        lag: Steps between a decision and the first step that follows it; None is the least that the
            loader's workers allow. A larger one gives runs with other workers the same samples.
        seed: Of the samples' order; None is the Trainer's ``data_seed``, or ``seed``.

    Raises:
        InputError: If names do not fit each other, weights are no mixture, the policy is no
            function, or a step of the schedule or ``every_steps`` is none.
    """

    def __init__(
        self,
        mixture: Weights,
        sizes: Mapping[str, int],
        *,
        schedule: Mapping[int, Weights] | None = None,
        policy: MixturePolicy | None = None,
        every_steps: int = 100,
        unit: Unit = "samples",
        max_repeats: Mapping[str, int | None] | None = None,
        at_end: Mapping[str, AtEnd] | None = None,
        lengths: np.ndarray | int | None = None,
        lag: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(list(sizes))
        self.domains = DomainSettings(sizes, unit, max_repeats or {}, at_end or {})
        if policy is not None and not callable(policy):
            raise InputError(
                f"policy must be a function of a MixtureView, but it is {policy!r}; a "
                "policy by its name is a PolicyMixture's."
            )
        if not isinstance(every_steps, int | np.integer) or every_steps < 1:
            raise InputError(f"every_steps must be 1 or more, but it is {every_steps!r}.")
        self.policy = policy
        self.every_steps = every_steps
        self._lengths = np.asarray(lengths) if isinstance(lengths, list | tuple) else lengths
        self._seed = seed
        self._start = self.domains.weights(mixture)
        steps = list(schedule or {})
        if not all(isinstance(step, int | np.integer) and step >= 0 for step in steps):
            raise InputError(f"schedule: steps are whole numbers from 0 on, but are {steps}.")
        entries = sorted((schedule or {}).items())
        self._schedule = [(step, self.domains.weights(entry)) for step, entry in entries]
        self._num_scheduled = 0
        self._lag = lag
        self._step = 0
        self._is_in_step = False
        self._metrics: dict[str, float] = {}
        self._sampler: MixtureSampler | None = None
        self._state: Mapping[str, Any] | None = None
        self._beginning: Mapping[str, Any] | None = None

    @property
    def sampler(self) -> MixtureSampler:
        """The sampler, once the Trainer's loader is made.

        Raises:
            InputError: Before.
        """
        if self._sampler is None:
            raise InputError(
                "the mixture has no sampler yet: the Trainer makes it when it begins to train; "
                "until then give mixtures to DomainMixture(...)."
            )
        return self._sampler

    def sampler_for(self, args: RunArguments, dataset: Any) -> MixtureSampler:  # noqa: ANN401
        """The sampler of a run with these arguments, made at the first call."""
        accumulation = args.gradient_accumulation_steps
        needed = apply_lag(
            args.dataloader_num_workers, args.dataloader_prefetch_factor, accumulation
        )
        if self._lag is not None and self._lag < needed:
            raise InputError(
                f"lag is {self._lag}, but with these workers and this accumulation a mixture can "
                f"start {needed} steps after a decision at the earliest."
            )
        self._lag = needed if self._lag is None else self._lag
        batch_size = args.train_batch_size * accumulation * args.world_size
        if self._sampler is None:
            lengths = self._lengths_of(dataset)
            self._sampler = self.domains.sampler(
                self._start,
                1 if lengths is None else lengths,
                batch_size,
                self._seed_of(args),
            )
            own, losses = self.state_dict(0), self.losses.state_dict()
            self._beginning = deepcopy({**own, "domain_losses": losses})
            if self._state is not None:
                self.load_state_dict(self._state)
        else:
            self._refuse_another_run(self._sampler, args, dataset, batch_size)
        return self._sampler

    def _lengths_of(self, dataset: Any) -> np.ndarray | int | None:  # noqa: ANN401
        """Tokens of every sample, as given or as the data set has them; None where nobody knows."""
        lengths = self._lengths
        if lengths is None:
            lengths = token_lengths(_unwrapped(dataset))
        if isinstance(lengths, np.ndarray) and len(lengths) != len(dataset):
            raise InputError(
                f"lengths has {len(lengths)} numbers, but the training set has {len(dataset)} "
                "samples; give one for each, in their order."
            )
        if lengths is None and self.domains.unit == "tokens":
            raise InputError(
                "unit is 'tokens', but the training set's samples have no input_ids before "
                "they are collated; say how many tokens each has, lengths=..., or take unit "
                "'samples'."
            )
        return lengths

    def _refuse_another_run(
        self,
        sampler: MixtureSampler,
        args: RunArguments,
        dataset: Any,  # noqa: ANN401
        batch_size: int,
    ) -> None:
        """Refuse a second Trainer, whose samples this one's sampler would not draw."""
        seed = self._seed_of(args)
        lengths = self._lengths_of(dataset)
        known = sampler.lengths(np.arange(len(dataset)))
        for what, mine, yours in (
            ("steps of {} samples", sampler.batch_size, batch_size),
            ("samples in the order of seed {}", sampler.seed, seed),
        ):
            if mine != yours:
                raise InputError(
                    f"this {type(self).__name__} draws {what.format(mine)} for another Trainer, "
                    f"and this one's are of {yours}; make one for each Trainer."
                )
        theirs = np.broadcast_to(1 if lengths is None else lengths, known.shape)
        if not np.array_equal(known, theirs):
            raise InputError(
                f"this {type(self).__name__} draws samples of other lengths for another Trainer; "
                "make one for each Trainer."
            )

    def _seed_of(self, args: RunArguments) -> int:
        if self._seed is not None:
            return self._seed
        return args.seed if args.data_seed is None else args.data_seed

    def domains_of(self, dataset: Any) -> DomainDataset:  # noqa: ANN401
        """The data set with the domain in its items."""
        return DomainDataset(dataset, self.domains.sizes)

    @property
    def reads_losses(self) -> bool:
        """Whether there is a policy, which is shown the domains' losses."""
        return self.policy is not None

    def forecast(self, batch_size: int, num_steps: int) -> dict[str, DomainForecast]:
        """What mixture, schedule and a number of steps imply for each domain, before the run.

        Raises:
            InputError: If the mixture is in tokens and no lengths were given.
        """
        mixtures = MixtureLog(self._start)
        for start_step, mixture_k in self._schedule:
            mixtures.append(start_step, mixture_k)
        return self.domains.forecast(mixtures, self._lengths, batch_size, num_steps)

    def set_mixture(self, mixture: Weights) -> int:
        """Let a mixture hold as soon as no loader can have read past it; on every rank alike.

        Returns:
            The first step with this mixture.

        Raises:
            InputError: If names or weights are wrong, or no training has begun.
        """
        sampler = self.sampler
        assert self._lag is not None
        # Inside a step its batches have been read already.
        start_step = self._step + self._lag + self._is_in_step
        sampler.set_mixture(self.domains.weights(mixture), start_step)
        return start_step

    def usage(self) -> dict[str, DomainUsage]:
        """Draws, epochs, repeats and what is left of each domain after the steps done."""
        return dict(zip(self.domain_names, self.sampler.usage(self._step), strict=True))

    def scalars(self, step: int) -> dict[str, float]:
        """The mixture of the step just done, and epochs by domain."""
        usage = self.sampler.usage(step)
        return {
            **self.shares(self.sampler, step),
            **{f"epochs/{name}": usage[k].epochs for k, name in enumerate(self.domain_names)},
        }

    def on_train_begin(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up the state of a checkpoint, and what the schedule asks for at the start.

        A second ``train()`` that goes on from none begins anew, with the first samples again.
        """
        super().on_train_begin(args, state, control, **kwargs)
        has_planned = self._sampler is not None and self._sampler.num_planned_steps > 0
        has_begun = self._step > 0 or has_planned  # a batch may have been looked at
        if self._beginning is not None and has_begun and state.global_step == 0:
            self.load_state_dict(self._beginning)
            self.losses.load_state_dict(self._beginning["domain_losses"])
        self._step = state.global_step
        self._follow_schedule()

    def on_step_begin(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note that the batches of a step have been read."""
        self._is_in_step = True

    def on_step_end(
        self, args: RunArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Change the mixture where the schedule or the policy says so."""
        self._step, self._is_in_step = state.global_step, False
        self._follow_schedule()
        if self.policy is not None and self._step % self.every_steps == 0:
            self._ask_policy(self.policy)
        return super().on_step_end(args, state, control, **kwargs)

    def on_evaluate(
        self,
        args: RunArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the numbers; a Trainer calls this once for every evaluation set."""
        self._metrics.update(metrics or {})

    def state_dict(self, step: int) -> dict[str, Any]:
        """Sampler, schedule, policy and what it saw; JSON-able."""
        policy_state = getattr(self.policy, "state_dict", None)
        return {
            "step": step,
            "lag": self._lag,
            "num_scheduled": self._num_scheduled,
            "sampler": self.sampler.state_dict(step),
            "policy": None if policy_state is None else policy_state(),
            "metrics": {k: v for k, v in self._metrics.items() if isinstance(v, int | float)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._state = state
        if self._sampler is None:
            return  # as soon as there is one
        self.sampler.load_state_dict(state["sampler"])
        assert self._lag is not None
        if self._lag > state["lag"]:
            logger.warning(
                "With these workers a mixture starts %d steps after a decision, before the stop "
                "it was %d: decisions to come act later than they would have.",
                self._lag, state["lag"],
            )  # fmt: skip
        self._lag = max(self._lag, state["lag"])
        self._step = state["step"]
        self._num_scheduled = state["num_scheduled"]
        self._metrics = dict(state["metrics"])
        load = getattr(self.policy, "load_state_dict", None)
        if state["policy"] is not None and load is not None:
            load(state["policy"])

    def _follow_schedule(self) -> None:
        """Enter what is due as late as the loader allows: hands may change it in between."""
        assert self._lag is not None
        due = self._schedule[self._num_scheduled :]
        for start_step, mixture_k in due:
            if start_step > self._step + self._lag:
                return
            # One that was added before a stopped run went on may lie in the past.
            self.sampler.set_mixture(mixture_k, max(start_step, self._step))
            self._num_scheduled += 1

    def _ask_policy(self, policy: MixturePolicy) -> None:
        newest_k, losses = self.sampler.log.entries[-1][1], self.losses.means_since_last("policy")
        view = MixtureView(
            step=self._step,
            mixture=dict(zip(self.domain_names, newest_k.tolist(), strict=True)),
            losses=dict(zip(self.domain_names, losses, strict=True)),
            metrics=dict(self._metrics),
            usage=self.usage(),
        )
        answer = answer_of(policy, view)
        if answer is not None:
            self.set_mixture(answer)


def _unwrapped(dataset: Any) -> Any:  # noqa: ANN401
    return dataset.dataset if isinstance(dataset, DomainDataset) else dataset
