"""All that a mixture needs to know of impact: inner products in every task's metric, no parameters.

A mixture's change is the mixture of the domains' changes, so distance, kernel and cosine of any
mixture follow from these small matrices.

Axis letters: k domains, t tasks, p parameters.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from dids.impact.blockwise_products import Within
from dids.impact.metric import fisher_gram, fisher_kernel, paired_products, target_norm
from dids.impact.nearest_psd import without_noise

# A task's own change that is mostly noise must not make the task all-important without its noise.
_LEAST_SIGNAL = 0.1
_LISTED = (
    "kernel_kt",
    "target_norm_t",
    "signal_tk",
    "target_signal_t",
    "error_kt",
    "num_samples_t",
)
_ARRAYS = ("gram_tkk", *_LISTED)


@dataclass(frozen=True)
class ImpactMatrices:
    """Impact of every domain on every task, and how the domains overlap.

    Attributes:
        gram_tkk: Inner products of the domains' changes in each task's Fisher metric.
        kernel_kt: Inner products of the domains' changes with the task's own.
        target_norm_t: Squared length of each task's own change.
        domain_names: Of the axis k.
        task_names: Of the axis t.
        signal_tk: Squared lengths of the domains' changes without the noise of estimating them: the
            products of two independent halves. May be negative. None: not measured.
        target_signal_t: The same of the tasks' own changes.
        error_kt: Standard error of ``kernel_kt``, a factor that all of a task have in common
            aside; infinite where there were too few samples to say. None: not measured.
        num_samples_t: Samples of each task, which say how well that error is known. None: many.
        within: The metric.
    """

    gram_tkk: Float64[np.ndarray, "t k k"]
    kernel_kt: Float64[np.ndarray, "k t"]
    target_norm_t: Float64[np.ndarray, " t"]
    domain_names: tuple[str, ...]
    task_names: tuple[str, ...]
    signal_tk: Float64[np.ndarray, "t k"] | None = None
    target_signal_t: Float64[np.ndarray, " t"] | None = None
    error_kt: Float64[np.ndarray, "k t"] | None = None
    num_samples_t: Float64[np.ndarray, " t"] | None = None
    within: Within = "fisher"

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            value = getattr(self, name)
            unknown = np.isposinf(value) if name == "error_kt" and value is not None else False
            if value is not None and not (np.isfinite(value) | unknown).all():
                raise ValueError(f"{name} has entries that are no numbers.")
        self._check_shapes()
        if self.within not in get_args(Within):
            raise ValueError(
                f"within must be one of {', '.join(get_args(Within))}, but it is {self.within!r}."
            )

    def _check_shapes(self) -> None:
        axes = {"k": len(self.domain_names), "t": len(self.task_names)}
        for names in (self.domain_names, self.task_names):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"two of {', '.join(names)} are called '{twice}'.")
        for name in _ARRAYS:
            value = getattr(self, name)
            expected = tuple(axes[letter] for letter in name.rpartition("_")[2])
            if value is not None and value.shape != expected:
                raise ValueError(
                    f"{name} has shape {value.shape}, but there are {axes['k']} domains and "
                    f"{axes['t']} tasks."
                )

    @classmethod
    def of(
        cls,
        *,
        update_kp: Float[Tensor, "k p"],
        target_tp: Float[Tensor, "t p"],
        fisher_tp: Float[Tensor, "t p"],
        domain_names: tuple[str, ...],
        task_names: tuple[str, ...],
        weight_p: Float[Tensor, " p"] | None = None,
        update_halves_2kp: Float[Tensor, "2 k p"] | None = None,
        target_halves_2tp: Float[Tensor, "2 t p"] | None = None,
    ) -> "ImpactMatrices":
        """The matrices of measured parameter changes.

        Args:
            update_kp: Parameter change that one step on each domain causes, up to a common factor.
            target_tp: Parameter change that one step on each task would cause, up to the same one.
            fisher_tp: Diagonal Fisher information of each task. Non-negative.
            domain_names: Of the rows of ``update_kp``.
            task_names: Of the rows of ``target_tp``.
            weight_p: How many parameters each entry stands for. None: one.
            update_halves_2kp: The changes from two independent halves of the samples.
            target_halves_2tp: The same for the tasks.
        """
        signal_tk = target_signal_t = None
        if update_halves_2kp is not None:
            first_kp, second_kp = update_halves_2kp
            signal_tk = paired_products(first_kp, second_kp, fisher_tp, weight_p).numpy()
        if target_halves_2tp is not None:
            first_tp, second_tp = target_halves_2tp
            target_signal_t = np.array(
                [
                    paired_products(first_p[None], second_p[None], fisher_p[None], weight_p).item()
                    for first_p, second_p, fisher_p in zip(
                        first_tp, second_tp, fisher_tp, strict=True
                    )
                ]
            )
        return cls(
            gram_tkk=fisher_gram(update_kp, fisher_tp, weight_p).numpy(),
            kernel_kt=fisher_kernel(update_kp, target_tp, fisher_tp, weight_p).numpy(),
            target_norm_t=target_norm(target_tp, fisher_tp, weight_p).numpy(),
            domain_names=domain_names,
            task_names=task_names,
            signal_tk=signal_tk,
            target_signal_t=target_signal_t,
        )

    def kl_distance(self) -> Float64[np.ndarray, "k t"]:
        """Distance form, in nats up to the square of the common factor; low is good."""
        diagonal_kt = np.diagonal(self.gram_tkk, axis1=1, axis2=2).T
        return np.asarray(0.5 * diagonal_kt - self.kernel_kt + 0.5 * self.target_norm_t)

    def fisher_kernel(self) -> Float64[np.ndarray, "k t"]:
        """Kernel form; high is good."""
        return self.kernel_kt

    def fisher_cosine(self) -> Float64[np.ndarray, "k t"]:
        """Cosine form, between -1 and 1; 0 where a change has no length."""
        length_kt = self._lengths_kt()
        cosine_kt = np.zeros_like(length_kt)
        np.divide(self.kernel_kt, length_kt, out=cosine_kt, where=length_kt > 0)
        return np.asarray(np.clip(cosine_kt, -1.0, 1.0))

    def cosine_error(self) -> Float64[np.ndarray, "k t"] | None:
        """Standard error of the cosine, the lengths taken as given. None: not measured."""
        if self.error_kt is None:
            return None
        length_kt = self._lengths_kt()
        error_kt = np.full_like(length_kt, np.inf)
        np.divide(self.error_kt, length_kt, out=error_kt, where=length_kt > 0)
        return error_kt

    def _lengths_kt(self) -> np.ndarray:
        diagonal_kt = np.diagonal(self.gram_tkk, axis1=1, axis2=2).T
        square_kt = np.maximum(diagonal_kt, 0.0) * np.maximum(self.target_norm_t, 0.0)
        return np.asarray(np.sqrt(square_kt))

    def in_typical_steps(self) -> "ImpactMatrices":
        """Every task's matrices in units of a typical domain's step, the task's own step cut to it.

        How long a task's own step is says nothing of the domains: a task of one-token answers has
        gradients many times longer than any domain's, no mixture comes near it, and measured by its
        own length it would count for nothing. Here every task asks for a step of the median length
        of the domains' steps in its metric, so that directions count, and equally for every task.
        """
        length_tk = np.sqrt(np.maximum(np.diagonal(self.gram_tkk, axis1=1, axis2=2), 0.0))
        typical_t = np.median(length_tk, axis=1)
        typical_t = np.where(typical_t > 0, typical_t, 1.0)
        own_t = np.sqrt(np.where(self.target_norm_t > 0, self.target_norm_t, 1.0))
        square_t = typical_t**2
        return self._combined(
            gram_tkk=self.gram_tkk / square_t[:, None, None],
            kernel_kt=self.kernel_kt / (typical_t * own_t),
            target_norm_t=self.target_norm_t / own_t**2,
            signal_tk=None if self.signal_tk is None else self.signal_tk / square_t[:, None],
            target_signal_t=None,  # a noisy task asks for no less than others, and for no more
            error_kt=None if self.error_kt is None else self.error_kt / (typical_t * own_t),
            num_samples_t=self.num_samples_t,
        )

    def smoothed(self, previous: "ImpactMatrices | None", decay: float) -> "ImpactMatrices":
        """Exponential average: ``decay * previous + (1 - decay) * self``.

        Args:
            previous: The average so far; None starts with this measurement.
            decay: Weight of what came before, from 0 to below 1.

        Raises:
            ValueError: If the two are of other domains or tasks.
        """
        if previous is None:
            return self
        if (previous.domain_names, previous.task_names) != (self.domain_names, self.task_names):
            raise ValueError("only impacts of the same domains on the same tasks can be averaged.")
        if decay == 0.0:  # nothing of it counts, not even that something was not known
            return self
        averages = {}
        for name in _ARRAYS:
            before, now = getattr(previous, name), getattr(self, name)
            is_known = before is not None and now is not None
            averages[name] = decay * before + (1.0 - decay) * now if is_known else None
        if previous.error_kt is not None and self.error_kt is not None:  # they err independently
            averages["error_kt"] = np.hypot(
                decay * previous.error_kt, (1.0 - decay) * self.error_kt
            )
        return self._combined(**averages)

    def noise(self) -> Float64[np.ndarray, "t k"]:
        """Variance of the estimates of the domains' changes: what it adds to their squared lengths.

        Zero where it was not measured.
        """
        diagonal_tk = np.diagonal(self.gram_tkk, axis1=1, axis2=2)
        if self.signal_tk is None:
            return np.zeros_like(diagonal_tk)
        return np.asarray(np.maximum(diagonal_tk - self.signal_tk, 0.0))

    def debiased(self) -> "ImpactMatrices":
        """Without the noise that squares of estimates have in them.

        A domain measured on few samples is not taken for a wild one then, and two halves of one
        domain look alike.
        """
        gram_tkk, norm_t = self.gram_tkk, self.target_norm_t
        if self.signal_tk is not None:
            gram_tkk = without_noise(gram_tkk, self.signal_tk)
        if self.target_signal_t is not None:
            norm_t = np.maximum(self.target_signal_t, _LEAST_SIGNAL * norm_t)
        return self._combined(
            gram_tkk=gram_tkk,
            kernel_kt=self.kernel_kt,
            target_norm_t=norm_t,
            error_kt=self.error_kt,
            num_samples_t=self.num_samples_t,
        )

    def regrouped(
        self, origin_kj: Float64[np.ndarray, "k j"], domain_names: tuple[str, ...]
    ) -> "ImpactMatrices":
        """The matrices of other domains, as far as those of before foretell them.

        A mean of gradients is the mean of its parts' means: what was merged has the mean of its
        parts' steps, what was split goes on with the whole's, and of a domain of new samples it is
        taken that its step does nothing.

        Args:
            origin_kj: Part of each domain of now that comes from each domain of before.
            domain_names: Of now.
        """
        diagonal_tj = np.diagonal(self.gram_tkk, axis1=1, axis2=2)
        signal_tj = diagonal_tj if self.signal_tk is None else self.signal_tk
        # Parts of one domain have its step in common, not the noise of estimating it.
        exact_tjj = self.gram_tkk.copy()
        on_before = np.arange(len(self.domain_names))
        exact_tjj[:, on_before, on_before] = signal_tj
        gram_tkk = np.einsum("kj,tji,li->tkl", origin_kj, exact_tjj, origin_kj)
        on_now = np.arange(len(domain_names))
        exact_tk = gram_tkk[:, on_now, on_now].copy()
        gram_tkk[:, on_now, on_now] += (diagonal_tj - signal_tj) @ (origin_kj**2).T
        error_kt = None
        if self.error_kt is not None:
            is_known_jt = np.isfinite(self.error_kt)
            square_jt = np.where(is_known_jt, self.error_kt, 0.0) ** 2
            is_part_kj = origin_kj > 0
            is_unknown_kt = is_part_kj @ ~is_known_jt | ~is_part_kj.any(axis=1, keepdims=True)
            error_kt = np.where(is_unknown_kt, np.inf, np.sqrt(origin_kj**2 @ square_jt))
        return ImpactMatrices(
            gram_tkk=gram_tkk,
            kernel_kt=origin_kj @ self.kernel_kt,
            target_norm_t=self.target_norm_t,
            domain_names=domain_names,
            task_names=self.task_names,
            signal_tk=None if self.signal_tk is None else exact_tk,
            target_signal_t=self.target_signal_t,
            error_kt=error_kt,
            num_samples_t=self.num_samples_t,
            within=self.within,
        )

    def to_json(self) -> dict[str, Any]:
        """The matrices as JSON values: lists, and ``gram_tkk``, which is large, as packed bytes."""
        state: dict[str, Any] = {
            "domain_names": list(self.domain_names),
            "task_names": list(self.task_names),
            "within": self.within,
        }
        state["gram_tkk"] = _packed(self.gram_tkk)
        for name in _LISTED:
            value = getattr(self, name)
            state[name] = None if value is None else value.tolist()
        if self.error_kt is not None:  # JSON has no infinity
            state["error_kt"] = [
                [e if np.isfinite(e) else None for e in row] for row in self.error_kt.tolist()
            ]
        return state

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "ImpactMatrices":
        """The matrices that ``to_json`` wrote, to the last bit."""
        arrays = {
            name: None if state.get(name) is None else np.array(state[name], dtype=np.float64)
            for name in _LISTED
        }
        arrays["gram_tkk"] = _unpacked(state["gram_tkk"])
        if arrays["error_kt"] is not None:
            arrays["error_kt"] = np.nan_to_num(arrays["error_kt"], nan=np.inf)
        return cls(
            domain_names=tuple(state["domain_names"]),
            task_names=tuple(state["task_names"]),
            within=state.get("within", "fisher"),
            **arrays,  # type: ignore[arg-type]
        )

    def _combined(self, **arrays: np.ndarray | None) -> "ImpactMatrices":
        return ImpactMatrices(
            domain_names=self.domain_names,
            task_names=self.task_names,
            within=self.within,
            **arrays,  # type: ignore[arg-type]
        )


def _packed(values: np.ndarray) -> dict[str, Any]:
    """An array as its little-endian bytes: exact, and half of the size of its digits."""
    raw = np.ascontiguousarray(values, dtype="<f8").tobytes()
    return {"shape": list(values.shape), "float64": base64.b64encode(raw).decode("ascii")}


def _unpacked(state: Mapping[str, Any]) -> np.ndarray:
    raw = np.frombuffer(base64.b64decode(state["float64"]), dtype="<f8")
    return raw.reshape(state["shape"]).astype(np.float64)
