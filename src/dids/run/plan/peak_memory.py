"""The most memory that a piece of work takes for itself: what a machine must have.

Mapped files are left out where the system says how much they are (Linux): it takes their pages back
when others need them.
"""

import resource
import sys
import threading
from pathlib import Path
from types import TracebackType

import torch

_STATUS = Path("/proc/self/status")
_EVERY_S = 0.02


class PeakMemory:
    """Looks at the process while the block runs.

    Attributes:
        bytes: The most, in main memory; of the whole process.
        device_bytes: The most on the GPU; 0 without one.

    Example:
        >>> with PeakMemory() as peak:
        ...     block = b"1" * 50_000_000
        >>> peak.bytes > 50_000_000
        True
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.device_bytes = 0
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._watcher.join()
        if torch.cuda.is_available():
            self.device_bytes = torch.cuda.max_memory_reserved()

    def _watch(self) -> None:
        look = _own_bytes if _STATUS.exists() else _most_ever
        self.bytes = look()
        while not self._is_over.wait(_EVERY_S):
            self.bytes = max(self.bytes, look())
        self.bytes = max(self.bytes, look())


def _own_bytes() -> int:
    """Resident and not of a file."""
    lines = (line.split() for line in _STATUS.read_text("ascii").splitlines())
    return sum(1024 * int(words[1]) for words in lines if words[0] in ("RssAnon:", "RssShmem:"))


def _most_ever() -> int:
    """Since the process began: all that other systems tell."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
