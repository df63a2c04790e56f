"""Follows ``steering.yaml`` through a run: checked when it changes, in force from the next round.

With several ranks the first one reads, checks and records; the others are told.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dids.config.steering import Steering, load_steering
from dids.errors import InputError
from dids.steering.changes import changes
from dids.steering.log import Moment, SteeringLog
from dids.steering.names import FieldError, KnownNames
from dids.steering.resolved import ResolvedSteering, resolved

logger = logging.getLogger(__name__)


class SteeringFollower:
    """What a run asks when a round begins.

    Args:
        path: The file that people edit.
        log_path: Where what was decided is recorded.
        start: What holds until the file says something else, where nothing is recorded.
        names: Of the run's domains, sources and tasks.
        grouping: How often the domains were regrouped.
        is_first_rank: Whether this process reads and writes; others only ask ``from_first``.
        from_first: Calls a function on the first rank and gives its answer, plain JSON values, to
            all. None: there is one process.
    """

    def __init__(
        self,
        path: Path,
        log_path: Path,
        start: Steering,
        names: KnownNames,
        *,
        grouping: int = 0,
        is_first_rank: bool = True,
        from_first: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> None:
        self.path = path
        self.names = names
        self.grouping = grouping
        self._wanted: Steering | None = None  # what the file said when it was last well-formed
        self._resolved: tuple[Steering, ResolvedSteering] | None = None
        self._is_first_rank = is_first_rank
        self._from_first = from_first
        self._log = SteeringLog(log_path if is_first_rank else None)
        self._present = self._log.last() or start
        self._seen: tuple[int, int, int] | None = None

    def for_round(self, number: int, *, step: int, tokens: int) -> ResolvedSteering:
        """What holds from the round that begins; recorded before it is returned.

        While nothing changes, the same object is returned.

        Raises:
            InputError: If neither the file nor what held before can be kept.
        """
        moment = Moment(self.grouping, number)

        def decided() -> dict[str, Any]:
            recorded = self._log.recorded(moment)
            if recorded is None:
                self._look(moment)
                recorded = self._asked
                resolved(recorded, self.names)
                self._log.decide(moment, recorded, step=step, tokens=tokens)
            return recorded.to_json()

        values = decided() if self._from_first is None else self._from_first(decided)
        self._present = Steering.from_json(values)
        if self._resolved is None or self._resolved[0] != self._present:
            self._resolved = self._present, resolved(self._present, self.names)
        return self._resolved[1]

    def at_start(self) -> ResolvedSteering:
        """What held when the domains became what they are; before a run, what would hold now.

        Raises:
            InputError: If neither the file nor what the run was to start with can be kept.
        """

        def held() -> dict[str, Any]:
            first = self._log.first(self.grouping)
            if first is None:
                self._look(Moment(self.grouping, 0))
                first = self._asked
            resolved(first, self.names)
            return first.to_json()

        values = held() if self._from_first is None else self._from_first(held)
        return resolved(Steering.from_json(values), self.names)

    def look(self, number: int) -> None:
        """Check the file if it has changed, so that a slip is told at once and not rounds later.

        Args:
            number: Of the round under way.
        """
        if not self._is_first_rank or self._signature() == self._seen:
            return
        before = self._asked
        self._look(Moment(self.grouping, number))
        for change in [] if self._wanted is None else changes(before, self._wanted):
            logger.warning("%s: %s, from the next round on.", self.path.name, change)

    @property
    def _asked(self) -> Steering:
        """What the file said when it was last well-formed; before that, what holds."""
        return self._present if self._wanted is None else self._wanted

    def _look(self, moment: Moment) -> None:
        """Take what the file says, if it is well-formed and can be kept."""
        signature = self._signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._wanted = checked_steering(self.path, self.names)
        except InputError as error:
            logger.warning("%s The run goes on as it was steered before.", error)
            self._log.refuse(moment, str(error))

    def _signature(self) -> tuple[int, int, int]:
        """Changes whenever the file does, at the price of one look into its folder."""
        try:
            stat = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def checked_steering(path: Path, names: KnownNames) -> Steering:
    """What a steering file says, if it can be kept.

    Raises:
        InputError: If not, with file, line and field.
    """
    steering, file = load_steering(path)
    try:
        resolved(steering, names)
    except FieldError as error:
        raise InputError(f"{file.where(error.location)}: {error}") from None
    return steering
