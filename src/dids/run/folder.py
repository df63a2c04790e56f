"""The run folder: the config as resolved, a lock, a log, and a mark for every finished stage.

Everything in it is JSON, YAML, npy, safetensors or Parquet, and every file is written whole or
not at all.
"""

import fcntl
import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dids import __version__
from dids.atomic import read_json, write_json, write_text
from dids.config import Config
from dids.config.steering import STEERING_NAME, is_steered
from dids.errors import InputError

CONFIG_NAME = "config.yaml"
HARMLESS = ("data.cache", "training.logging_steps")
"""Fields of a config that may change while a run is under way: no result depends on them."""
_LOCK = ".lock"
_VERSIONS = "versions.json"
_FORMAT = "1"  # of a run folder; another whenever a file that is read back changes its meaning
_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "faiss-cpu", "clarabel")


class RunFolder:
    """Paths and marks of one run.

    Args:
        path: The folder; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self, config: Config) -> None:
        """Write the resolved config into a new folder, or check it against the one that is there.

        Raises:
            InputError: If the folder belongs to another config or a version that keeps other files,
                or is something else altogether. What is `HARMLESS` may differ, and holds from now
                on.
        """
        recorded = self.path / CONFIG_NAME
        asked = config.model_dump(mode="json")
        # A check alone binds no one: only finished stages are built on a config.
        is_begun = self._is_begun
        if recorded.exists():
            self.refuse_other_format()
            begun_with = _with_defaults(yaml.safe_load(recorded.read_text("utf-8")))
            changes = differences(begun_with, asked) + _reordered(begun_with, asked)
            if not changes:
                return
            binding = [change for change in changes if change[0] not in HARMLESS]
            if binding and is_begun:
                field, old, new = binding[0]
                instead = "give the run another folder (run: ...), or set it back"
                if is_steered(field):
                    instead = f"set it back, and edit {self.path / STEERING_NAME} instead"
                raise InputError(
                    f"{self.path}: this run folder has another config: '{field}' is {old!r} there "
                    f"and {new!r} now; {instead}."
                )
        else:
            self._refuse_strangers()
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(recorded, yaml.safe_dump(asked, sort_keys=False, allow_unicode=True))
        if not is_begun:
            write_json(self.path / _VERSIONS, versions())

    @property
    def _is_begun(self) -> bool:
        return any((self.path / "stages").glob("*.json"))

    def refuse_other_format(self) -> None:
        """Say so if finished stages left files that this version would read as what they are not.

        Raises:
            InputError: With the version that made them.
        """
        if not self._is_begun:
            return
        made = self.versions()
        if made.get("run_folder") != _FORMAT:
            raise InputError(
                f"{self.path}: dids {made['dids']} made this run folder, which dids {__version__} "
                "keeps otherwise; go on with the version that began it, or give the run another "
                "folder (run: ...)."
            )

    def _refuse_strangers(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; run: must name a folder.")
        strangers = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        strangers -= {_LOCK, "log.txt"}
        if strangers:
            raise InputError(
                f"{self.path}: the folder holds other files ({min(strangers)}) and no run; name an "
                "empty folder or a new one."
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process; a second one is refused.

        Raises:
            InputError: If another process holds it, or there can be no folder at that place.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
            reason = os.strerror(error.errno or 0).lower()
            raise InputError(
                f"run: there can be no folder {self.path} ({reason}); name another place."
            ) from None
        with (self.path / _LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"{self.path}: another process is working in this run folder."
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()} {socket.gethostname()}")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)
                if not (self.path / CONFIG_NAME).exists():  # it became no run folder
                    (self.path / _LOCK).unlink(missing_ok=True)

    @property
    def is_worked_on(self) -> bool:
        """Whether a process holds the folder.

        One on another machine cannot be asked: it counts until it lets go, killed or not.
        """
        try:
            holder = (self.path / _LOCK).read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return False
        if len(holder) != 2:
            return False
        pid, host = holder
        if host != socket.gethostname():
            return True
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # someone else's, alive
            return True
        return True

    def is_done(self, stage: str) -> bool:
        """Whether a stage is finished."""
        return self._mark(stage).exists()

    def mark_done(self, stage: str, **facts: Any) -> None:
        """Record that a stage is finished, with what is worth knowing about it."""
        folder = self._mark(stage).parent
        folder.mkdir(exist_ok=True)
        # Not by the files' times: clocks jump.
        order = len([mark for mark in folder.glob("*.json") if mark.stem != stage])
        write_json(self._mark(stage), {"order": order, **facts})

    def keep_spent(self, stage: str, seconds: float) -> None:
        """Record what a stage has taken that was stopped, or nothing."""
        path = self._spent(stage)
        if seconds > 0.0:
            path.parent.mkdir(exist_ok=True)
            write_text(path, repr(seconds))
        else:
            path.unlink(missing_ok=True)

    def spent_s(self, stage: str) -> float:
        """Seconds that a stage took before it was stopped; 0 where it was not, or was killed."""
        try:
            return float(self._spent(stage).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 0.0

    def _spent(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.stopped"

    def forget(self, stage: str) -> None:
        """Have a stage done again."""
        self._mark(stage).unlink()

    def facts(self, stage: str) -> dict[str, Any]:
        """What ``mark_done`` recorded."""
        facts: dict[str, Any] = read_json(self._mark(stage))
        return facts

    def times_s(self) -> dict[str, float]:
        """Seconds that every finished stage took, in the order in which they ended."""
        facts = {mark.stem: read_json(mark) for mark in (self.path / "stages").glob("*.json")}
        in_order = sorted(facts.items(), key=lambda item: item[1]["order"])
        return {stage: fact["elapsed_s"] for stage, fact in in_order}

    def versions(self) -> dict[str, str]:
        """The versions that the run was started with."""
        found: dict[str, str] = read_json(self.path / _VERSIONS)
        return found

    def _mark(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.json"

    def log_to_file(self, rank: int = 0) -> logging.Handler:
        """Append what the package logs to ``log.txt``: of other ranks than 0 only warnings."""
        handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
        who = f"rank {rank} " if rank else ""
        handler.setFormatter(
            logging.Formatter(f"%(asctime)s {who}%(levelname)s %(name)s: %(message)s")
        )
        if rank:
            handler.setLevel(logging.WARNING)
        logger = logging.getLogger("dids")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        return handler


def open_run(path: Path) -> Config:
    """The config that a run folder was made with.

    Raises:
        InputError: If there is no run at that place, a version made it that keeps other files, or
            its config names what is not here any more, such as a policy of a package that is not
            installed.
    """
    recorded = path / CONFIG_NAME
    if not recorded.exists():
        raise InputError(f"{path}: there is no run here; `dids run CONFIG` starts one.")
    RunFolder(path).refuse_other_format()
    try:
        return Config.model_validate(yaml.safe_load(recorded.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{recorded}: '{field}': {message}.") from None


def _with_defaults(recorded: Any) -> Any:  # noqa: ANN401
    """A recorded config with what it does not say because there was no such field yet."""
    try:
        return Config.model_validate(recorded).model_dump(mode="json")
    except ValidationError:
        return recorded


def first_difference(
    old: Any,  # noqa: ANN401
    new: Any,  # noqa: ANN401
) -> tuple[str, Any, Any] | None:
    """The first field in which two configs differ, with both values.

    Example:
        >>> first_difference({"seed": 0}, {"seed": 1})
        ('seed', 0, 1)
    """
    return next(iter(differences(old, new)), None)


def differences(
    old: Any,  # noqa: ANN401
    new: Any,  # noqa: ANN401
    where: str = "",
) -> list[tuple[str, Any, Any]]:
    """Every field in which two configs differ, with both values.

    Example:
        >>> differences({"seed": 0, "data": {"cache": None}}, {"seed": 1, "data": {"cache": "c"}})
        [('seed', 0, 1), ('data.cache', None, 'c')]
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in [*new, *(key for key in old if key not in new)]:
            field = f"{where}.{key}" if where else str(key)
            found += differences(old.get(key), new.get(key), field)
        return found
    return [] if old == new else [(where, old, new)]


def _reordered(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[tuple[str, list[str], list[str]]]:
    """Where names stand in another order by which a run numbers their samples or values."""
    orders = [
        ("data.sources, in this order,", old["data"]["sources"], new["data"]["sources"]),
        ("tasks, in this order,", old["tasks"], new["tasks"]),
    ]
    return [
        (field, list(begun), list(asked))
        for field, begun, asked in orders
        if set(begun) == set(asked) and list(begun) != list(asked)
    ]


def versions() -> dict[str, str]:
    """The versions that the result depends on, and that of the run folder's files."""
    found = {"dids": __version__, "run_folder": _FORMAT, "python": sys.version.split()[0]}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
