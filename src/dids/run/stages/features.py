"""Stage four: gradient features on the proxy, of every training sample or of a share of them."""

from typing import Any

from dids.run.features import computed_features
from dids.run.workspace import Workspace


def run(work: Workspace) -> dict[str, Any]:
    """Write ``features/``; nothing where the sources are kept as domains."""
    if work.config.domains.number == "sources":
        return {"computed": False}
    computed_features(work)
    return {"computed": True}
