"""What a policy without memory has to say of its memory."""

from collections.abc import Mapping
from typing import Any

from dids.domains.regrouping import Regrouping


class Forgetful:
    """A policy whose mixture follows from what it sees alone."""

    needs_impact = False

    def regroup(self, regrouping: Regrouping) -> None:
        """Nothing is remembered."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is remembered."""
