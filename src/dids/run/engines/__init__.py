"""Where shards of a corpus are worked on: here, on all ranks of the run, or on Ray's workers."""

from dids.run.engines.all_ranks import AllRanks
from dids.run.engines.engine import Engine, Shards, in_this_process
from dids.run.engines.ray_data import on_ray

__all__ = ["ENGINES", "AllRanks", "Engine", "Shards", "in_this_process", "on_ray"]

ENGINES: dict[str, Engine | None] = {"local": None, "ray": on_ray}
"""Which of them it was cannot be seen from what they leave. None: the processes of the run."""
