"""The policy ``best-fixed``: the best fixed mixture that a search in hindsight finds.

Axis letters: n trials, c candidates, k domains, t tasks.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from dids.errors import InputError
from dids.mixture.found_mixture import FoundMixture
from dids.mixture.loss_regression import Predictor, fitted_losses, lowest_mixture
from dids.mixture.mixture_draws import above_floors, dirichlet, dirichlet_mixtures
from dids.mixture.search import Trials, scored_task_names

_NEAR = (10.0, 30.0, 100.0)
"""Strengths of the draws around the best so far, in domains' worth: far, nearer, near."""
_TRIES = 20
"""Of the best of them, until one is not among the mixtures tried before."""


class BestFixed(FoundMixture):
    """The fixed mixture with the least ``mean_t L_t / L_t(uniform)`` of those that were tried.

    Every trial is a whole run of the model itself with the whole budget: uniform, proportional, the
    prior, mixtures of one's own, each domain heavy in turn (as far as a third of the trials goes),
    random ones; then, one after another, the lowest point of a surface fitted to all trials so far,
    or the middle between it and the best. It is what the gap between uniform and a
    policy is measured against (gap closed), and no rival: it costs many times the run.

    It looks at the tasks' validation losses after each trial, as one who could repeat the run
    would, never at the test items.

    Args:
        num_trials: Whole runs, besides those of ``candidates``.
        candidates: Path of a JSON list of mixtures to try as well, each an object of shares by
            domain name; domains that are not named have none. Empty: no others.

    Note:
        No paper's method. The surface is the mixing law of Ye et al. 2024, arXiv:2403.16952, of
        shares or of their roots. Of made-up worlds with 19 domains 24 trials close 90 to 95 % of
        the gap and 48 trials 99 %; with 48 domains it is 80 and 86 to 98 %.
    """

    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = ({},)

    def __init__(self, *, num_trials: float = 24, candidates: str = "") -> None:
        super().__init__()
        if num_trials < 1:
            raise ValueError("num_trials must be 1 or more")
        self.num_trials = int(num_trials)
        self.candidates = candidates

    def search(self, trials: Trials) -> None:
        """Try mixtures on the model itself; the best of them holds.

        Raises:
            InputError: If no task has a loss, or ``candidates`` cannot be read.
        """
        task_names = scored_task_names(trials, "best-fixed")
        weight_t = trials.task_weights / trials.task_weights.sum()
        rng = np.random.default_rng(trials.seed)
        given = self._given(trials)
        most = self.num_trials + len(given)
        tried: list[np.ndarray] = []
        losses: list[np.ndarray] = []

        def run(name: str, mixture_k: np.ndarray) -> None:
            allowed_k = trials.limits.project(mixture_k)
            if len(tried) == most or _is_among(allowed_k, tried):
                return
            trial = trials.run(name, FoundMixture(allowed_k), model="model", rounds=1)
            tried.append(allowed_k)
            losses.append(trial.final_losses(task_names))

        for name, mixture_k in {**self._first(trials, rng), **given}.items():
            run(name, mixture_k)
        while len(tried) < most:
            relative_nt = np.stack(losses) / losses[0]
            best_k = tried[int((relative_nt @ weight_t).argmin())]
            predict = fitted_losses(np.stack(tried), relative_nt, "concave")
            num_before = len(tried)
            for name, candidate_k in _next(best_k, predict, weight_t, trials, rng):
                run(f"{name}-{num_before:02d}", candidate_k)
                if len(tried) > num_before:
                    break
            else:
                break  # limits leave no other mixture
        relative_nt = np.stack(losses) / losses[0]
        self.found_k = tried[int((relative_nt @ weight_t).argmin())]

    def _given(self, trials: Trials) -> dict[str, np.ndarray]:
        if not self.candidates:
            return {}
        given = given_mixtures(Path(self.candidates), trials.domain_names)
        return {f"given-{number:02d}": mixture for number, mixture in enumerate(given)}

    def _first(self, trials: Trials, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What is tried whatever the others give; uniform first, as all are compared with it."""
        num_domains = len(trials.sizes_k)
        uniform_k = np.full(num_domains, 1.0 / num_domains)
        first = {
            "uniform": uniform_k,
            "proportional": trials.sizes_k / trials.sizes_k.sum(),
            "prior": trials.prior,
        }
        left = max(0, self.num_trials - len(first))
        heavy = rng.permutation(num_domains)[: left // 3]
        for domain in heavy:
            first[f"heavy-{domain:02d}"] = 0.5 * uniform_k + 0.5 * np.eye(num_domains)[domain]
        drawn_nk = dirichlet_mixtures(
            uniform_k, left // 3, rng, strengths=(0.3 * num_domains, 3.0 * num_domains)
        )
        return first | {f"draw-{number:02d}": drawn_k for number, drawn_k in enumerate(drawn_nk)}


def _next(
    best_k: Float64[np.ndarray, " k"],
    predict: Predictor,
    weight_t: Float64[np.ndarray, " t"],
    trials: Trials,
    rng: np.random.Generator,
) -> Iterator[tuple[str, Float64[np.ndarray, " k"]]]:
    """What to try next, the likeliest first: the surface's lowest point, half of the way, draws."""
    lowest_k = lowest_mixture(lambda p: predict(above_floors(p, trials.limits)) @ weight_t, best_k)
    lowest_k = above_floors(lowest_k[None], trials.limits)[0]
    steps = [("lowest", lowest_k), ("halfway", (best_k + lowest_k) / 2.0)]
    # In turn, for the surface may be wrong far away and says nothing new where it was asked.
    yield from steps if rng.random() < 0.5 else reversed(steps)
    num_domains = len(best_k)
    middle_k = 0.9 * best_k + 0.1 / num_domains
    near_ck = np.concatenate([dirichlet(s * num_domains * middle_k, 500, rng) for s in _NEAR])
    near_ck = above_floors(near_ck, trials.limits)
    for candidate in np.argsort(predict(near_ck) @ weight_t, kind="stable")[:_TRIES]:
        yield "near", near_ck[candidate]


def _is_among(mixture_k: np.ndarray, tried: list[np.ndarray]) -> bool:
    return any(np.abs(mixture_k - other_k).max() < 1e-6 for other_k in tried)


def given_mixtures(path: Path, domain_names: tuple[str, ...]) -> list[Float64[np.ndarray, " k"]]:
    """Mixtures of a JSON file, as shares by domain name.

    Raises:
        InputError: If the file is not such a list, or names a domain that there is not.
    """
    field = "mixture.settings.candidates"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{field}: {path} cannot be read as JSON: {error}") from error
    if not isinstance(listed, list) or not all(isinstance(given, dict) for given in listed):
        raise InputError(f"{field}: {path} must be a list of objects of shares by domain name.")
    found = []
    for number, given in enumerate(listed):
        unknown = [name for name in given if name not in domain_names]
        if unknown:
            raise InputError(
                f"{field}: {path}, mixture {number}: there is no domain '{unknown[0]}'."
            )
        shares = [given.get(name, 0.0) for name in domain_names]
        if not all(isinstance(s, int | float) and s >= 0 for s in shares) or not sum(shares) > 0:
            raise InputError(
                f"{field}: {path}, mixture {number}: shares must be numbers of 0 or more, and not "
                "all 0."
            )
        found.append(np.array(shares, dtype=np.float64) / sum(shares))
    return found
