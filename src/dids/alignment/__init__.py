"""Alignment: transforms of features that leave more of a sample's content than of its format."""

from dids.alignment.compact import Compact
from dids.alignment.composed import ALIGNMENTS, Composed
from dids.alignment.projection import Projection
from dids.alignment.style import Style
from dids.alignment.transform import TASKS, Alignment

__all__ = ["ALIGNMENTS", "TASKS", "Alignment", "Compact", "Composed", "Projection", "Style"]
