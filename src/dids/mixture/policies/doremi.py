"""The policy ``doremi``: weights that a small robust model found.

Axis letters: k domains.
"""

from typing import ClassVar

import numpy as np

from dids.mixture.found_mixture import FoundMixture
from dids.mixture.group_dro import GroupDro
from dids.mixture.search import Trials

_MOVED = 1e-3


class DoReMi(FoundMixture):
    """A fixed mixture: the average one under which a proxy was held close to a reference.

    Before the run, the proxy is trained twice: under the prior, which makes the reference, and by
    `GroupDro` against it. The run draws by the second one's mean weights, ``mean_t a_k(t)``. (Xie
    et al. 2023, arXiv:2305.10429, equation 1, algorithm 1 and the three steps around it.) Repeated,
    the next reference is trained under the weights found, until none of them moves by 0.001
    ("iterated DoReMi" there).

    Args:
        step_size: As of `GroupDro`.
        smoothing: As of `GroupDro`.
        repeats: How often a reference and a proxy are trained, at most.
        budget: Tokens of each of these, as a fraction of the run's.

    Note:
        The paper's proxies take as many steps as the model. Weights are averaged as they were
        drawn by, within the limits. Without a search the mixture is the prior.
    """

    searched: ClassVar[tuple[dict[str, float | bool | str], ...]] = (
        {},
        {"step_size": 0.1},
        {"smoothing": 0.1},
    )

    def __init__(
        self,
        *,
        step_size: float = 1.0,
        smoothing: float = 1e-3,
        repeats: int = 1,
        budget: float = 1.0,
    ) -> None:
        super().__init__()
        if repeats < 1:
            raise ValueError(f"repeats must be 1 or more, but it is {repeats}.")
        if not 0.0 < budget <= 1.0:
            raise ValueError(f"budget must be above 0 and at most 1, but it is {budget}.")
        GroupDro(step_size=step_size, smoothing=smoothing)  # says at once what is wrong with them
        self.step_size = step_size
        self.smoothing = smoothing
        self.repeats = int(repeats)
        self.budget = budget

    def search(self, trials: Trials) -> None:
        """Train reference and proxy, and keep the proxy's mean mixture."""
        found_k = trials.prior
        for number in range(1, self.repeats + 1):
            reference = trials.run(f"reference-{number}", FoundMixture(found_k), budget=self.budget)
            rule = GroupDro(step_size=self.step_size, smoothing=self.smoothing)
            proxy = trials.run(f"proxy-{number}", rule, budget=self.budget, reference=reference)
            moved = float(np.abs(proxy.mean_mixture_k - found_k).max())
            found_k = proxy.mean_mixture_k
            if moved < _MOVED:
                break
        self.found_k = np.asarray(found_k, dtype=np.float64)
