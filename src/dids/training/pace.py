"""How fast a run goes: tokens a second over the last while, measuring included."""

from collections import deque

_WINDOW_S = 60.0
_MOST_LOOKS = 600


class Pace:
    """Remembers when how many tokens were done.

    Example:
        >>> pace = Pace()
        >>> for now_s, tokens in [(0.0, 0), (10.0, 1000), (20.0, 3000)]:
        ...     pace.look(now_s, tokens)
        >>> pace.tokens_per_s
        150.0
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque(maxlen=_MOST_LOOKS)

    def look(self, now_s: float, tokens: int) -> None:
        """Note that so many tokens are done by now.

        Args:
            now_s: Of a clock that only goes forward.
            tokens: Of the whole run so far.
        """
        self._looks.append((now_s, tokens))
        while len(self._looks) > 2 and self._looks[1][0] < now_s - _WINDOW_S:
            self._looks.popleft()

    @property
    def tokens_per_s(self) -> float | None:
        """Over the last minute, or less at the start; None before two looks."""
        if len(self._looks) < 2:
            return None
        (began_s, first), (ended_s, last) = self._looks[0], self._looks[-1]
        return (last - first) / (ended_s - began_s) if ended_s > began_s else None
