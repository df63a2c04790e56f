"""The folder of a contest: which run lies where, with which config."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dids.atomic import read_json, write_json
from dids.compare.entrants import Entrant
from dids.config import Config
from dids.errors import InputError
from dids.mixture.policy import make_policy, needs_of
from dids.run.folder import RunFolder, first_difference

CONTEST_NAME = "contest.json"
RESULT_NAME = "compare.json"
PAGE_NAME = "compare.html"
PREPARED = "prepared"
TUNING = "tuning"


@dataclass(frozen=True)
class PlannedRun:
    """A run of the contest.

    Attributes:
        title: For people.
        folder: The run folder.
        config: Of the run.
        takes_impact: Whether the impact before training is the one that all share.
    """

    title: str
    folder: RunFolder
    config: Config
    takes_impact: bool = False


@dataclass(frozen=True)
class ContestFolder:
    """Paths and configs of one contest.

    Args:
        path: The folder; it may not exist yet.
        config: What all runs have in common.
    """

    path: Path
    config: Config

    def refuse_strangers(self) -> None:
        """Leave a place alone that holds something else.

        Raises:
            InputError: If it is a file, or a folder with other files and no contest.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; --out must name a folder.")
        found = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        strangers = found - {".lock"}
        if strangers and CONTEST_NAME not in found:
            raise InputError(
                f"{self.path}: the folder holds other files ({min(strangers)}) and no contest; "
                "name an empty folder or a new one (--out)."
            )

    def prepare(self) -> None:
        """Write down what the contest is about, or compare it with what is there.

        Raises:
            InputError: If the folder belongs to another config, or holds something else.
        """
        self.refuse_strangers()
        asked = self.common.model_dump(mode="json")
        mark = self.path / CONTEST_NAME
        if not mark.exists():
            write_json(mark, {"config": asked})
            return
        difference = first_difference(read_json(mark)["config"], asked)
        if difference is not None:
            field, old, new = difference
            raise InputError(
                f"{self.path}: this contest has another config: '{field}' is {old!r} there and "
                f"{new!r} now; give the contest another folder (--out), or set it back."
            )

    @cached_property
    def common(self) -> Config:
        """The config without what differs between the runs."""
        raw = self.config.model_dump(mode="json")
        raw |= {"run": str(self.path / "NAME"), "seed": 0, "control": None}
        raw["mixture"] |= {"policy": "dids", "settings": {}}
        raw["evaluation"] |= {"lm_eval": False, "base": False}
        raw["data"]["cache"] = raw["data"]["cache"] or str(self.path / "tokens")
        return Config.model_validate(raw)

    def place(self, seed: int, *, is_tuning: bool = False) -> Path:
        """Where the runs of a seed lie."""
        return self.path / (TUNING if is_tuning else f"seed-{seed}")

    def prepared(self, seed: int, *, is_tuning: bool = False) -> PlannedRun:
        """The run whose stages before training all others of the seed take over."""
        path = self.place(seed, is_tuning=is_tuning) / PREPARED
        return PlannedRun(f"shared stages, seed {seed}", RunFolder(path), self._config(path, seed))

    def run(
        self, entrant: Entrant, settings: Mapping[str, Any], seed: int, *, trial: str | None = None
    ) -> PlannedRun:
        """An entrant's run.

        Args:
            entrant: Who.
            settings: Of its policy.
            seed: Of the run.
            trial: Name of a run on the tuning seed. None: it is one of the contest's.

        Raises:
            InputError: If what it overrides fits no config, or its name is taken.
        """
        if entrant.folder_name == PREPARED:
            raise InputError(f"entrant {entrant.name}: this name is taken; give it another one.")
        place = self.place(seed, is_tuning=trial is not None)
        path = place / (entrant.folder_name if trial is None else trial)
        try:
            config = self._config(path, seed, entrant.policy, settings, entrant.impact)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise InputError(f"entrant {entrant.name}: '{field}': {message}.") from None
        needs = needs_of(make_policy(entrant.policy, **settings))
        is_alike = needs.metric is None and (needs.robust_tasks or not config.impact.robust_tasks)
        takes_impact = is_alike and config.impact == self.common.impact
        title = f"{entrant.name}, seed {seed}" if trial is None else f"trial {trial}"
        return PlannedRun(title, RunFolder(path), config, takes_impact)

    def _config(
        self,
        path: Path,
        seed: int,
        policy: str = "dids",
        settings: Mapping[str, Any] | None = None,
        impact: Mapping[str, Any] | None = None,
    ) -> Config:
        raw = self.common.model_dump(mode="json")
        raw |= {"run": str(path), "seed": seed}
        raw["mixture"] |= {"policy": policy, "settings": dict(settings or {})}
        raw["impact"] |= impact or {}
        return Config.model_validate(raw)
