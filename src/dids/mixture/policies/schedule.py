"""The policy ``schedule``: the user's own weights, which change as the run goes on.

Axis letters: k domains, s points of the schedule.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64

from dids.mixture.forgetful import Forgetful
from dids.mixture.named_weights import checked_weights, weighted_mixture
from dids.mixture.observation import Observation, PolicyDecision


class Schedule(Forgetful):
    """Weights that a user gives for several points of the run.

    ``points: [{at: 0, weights: {web: 1}}, {at: 0.8, weights: {web: 1, code: 3}}]``. Between two
    points the mixture is the straight line from one to the other; before the first and after the
    last it is theirs. Weights are meant as those of the policy `Weights`.

    Args:
        points: Each with ``at``, the part of the run that is over, from 0 to 1, and ``weights`` by
            name or pattern. None: the prior of the config, all along.
        between: ``linear``, or ``steps``: each point's weights hold until the next.

    Note:
        A mixture is made at the beginning of every round and holds through it, so that a schedule
        has as many steps as the run has rounds.
    """

    searched: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def __init__(
        self,
        *,
        points: Any = None,  # noqa: ANN401
        between: str = "linear",
    ) -> None:
        if between not in ("linear", "steps"):
            raise ValueError(f"between must be linear or steps, but it is {between!r}.")
        self.between = between
        self.points = [] if points is None else _checked_points(points)

    def mixture(self, observation: Observation) -> PolicyDecision:
        """The mixture of the schedule at the run's progress, moved into the limits.

        Raises:
            InputError: If a name or pattern fits no domain.
        """
        if not self.points:
            return PolicyDecision(observation.limits.project(observation.prior))
        names, sizes_k = observation.domain_names, observation.sizes_k
        share_sk = np.stack(
            [
                weighted_mixture(
                    weights, names, sizes_k, f"mixture.settings.points[{number}].weights"
                )
                for number, (_, weights) in enumerate(self.points)
            ]
        )
        return PolicyDecision(observation.limits.project(self._at(observation.progress, share_sk)))

    def _at(
        self, progress: float, share_sk: Float64[np.ndarray, "s k"]
    ) -> Float64[np.ndarray, " k"]:
        at_s = np.array([at for at, _ in self.points])
        if self.between == "steps":
            return np.asarray(share_sk[max(0, int((at_s <= progress).sum()) - 1)])
        columns = [np.interp(progress, at_s, share_s) for share_s in share_sk.T]
        return np.array(columns)


def _checked_points(points: Any) -> list[tuple[float, dict[str, float]]]:  # noqa: ANN401
    form = "[{at: 0, weights: {web: 1}}, {at: 0.8, weights: {code: 1}}]"
    is_list = isinstance(points, Sequence) and not isinstance(points, str)
    if not is_list or not points:
        raise ValueError(f"points must be a list such as {form}, but it is {points!r}.")
    checked: list[tuple[float, dict[str, float]]] = []
    for number, point in enumerate(points):
        if not isinstance(point, Mapping) or set(point) != {"at", "weights"}:
            raise ValueError(
                f"points[{number}] must have at and weights, as in {form}, but it is {point!r}."
            )
        at = point["at"]
        is_number = isinstance(at, int | float) and not isinstance(at, bool)
        least = checked[-1][0] if checked else -math.inf
        if not is_number or not 0.0 <= at <= 1.0 or at <= least:
            raise ValueError(
                f"points[{number}].at must be a number from 0 to 1 and beyond the point before, "
                f"but it is {at!r}."
            )
        checked.append((float(at), checked_weights(point["weights"], f"points[{number}].weights")))
    return checked
