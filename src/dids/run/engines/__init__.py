"""Where shards of a corpus are worked on: here, one after the other, or on Ray's workers."""

from dids.run.engines.engine import Engine, Shards, in_this_process
from dids.run.engines.ray_data import on_ray

__all__ = ["ENGINES", "Engine", "Shards", "in_this_process", "on_ray"]

ENGINES: dict[str, Engine] = {"local": in_this_process, "ray": on_ray}
"""Which of them it was cannot be seen from what they leave."""
