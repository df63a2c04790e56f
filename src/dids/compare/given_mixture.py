"""The policy of a mixture that was found elsewhere: what the best fixed mixture is run with.

Axis letters: k domains.
"""

from pathlib import Path

import numpy as np

from dids.atomic import read_json
from dids.errors import InputError
from dids.mixture.found_mixture import FoundMixture


class GivenMixture(FoundMixture):
    """The mixture in a file, all the time.

    Args:
        path: A JSON object with the probability of every domain by name, in the domains' order.

    Raises:
        InputError: If there is no such file.
    """

    def __init__(self, path: str) -> None:
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such file of a mixture.")
        super().__init__(np.array(list(read_json(Path(path)).values()), dtype=np.float64))
