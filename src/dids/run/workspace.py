"""What every stage works with: config, run folder, results of the stages before it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dids.config import Config
from dids.config.schema import ModelConfig, SourceConfig, TaskConfig
from dids.config.steering import STEERING_NAME
from dids.data.dataset import PaddingCollator, TokenDataset
from dids.data.records import Half
from dids.data.sources import SourceFiles
from dids.data.token_store import TokenStore, open_token_store
from dids.data.tokenizer import load_tokenizer
from dids.domains.domains import Domains
from dids.errors import InputError
from dids.run.engines import Engine, in_this_process
from dids.run.folder import RunFolder
from dids.run.launched_ranks import LaunchedRanks
from dids.sampling.domain_samples import AtEnd
from dids.steering.names import KnownNames
from dids.training.domain_data import DomainData
from dids.training.models import build_model, model_device, saved_model
from dids.training.regrouping import Grouping
from dids.training.stop_signal import StopSignal

EARLIER_DOMAINS = "earlier_domains"

Split = Literal["validation", "test"]


def task_files(name: str, task: TaskConfig, split: Split) -> SourceFiles:
    """The files of one split of a task. Without a test of its own it halves its records.

    Example:
        >>> task_files("mmlu", TaskConfig(validation="mmlu.jsonl"), "test").half
        'second'
    """
    halves: dict[Split, Half] = {"validation": "first", "test": "second"}
    return SourceFiles(
        name=f"{name}-{split}",
        paths=getattr(task, split) or task.validation,
        format=task.format,
        title=f"Task '{name}' ({split})",
        half=halves[split] if task.test is None else None,
    )


@runtime_checkable
class Progress(Protocol):
    """Shows how far a long piece of work is."""

    def bar(self, title: str, total: float) -> AbstractContextManager[Callable[[float], None]]:
        """A bar; what it gives is called with the amount done since the last call."""

    def say(self, line: str) -> None:
        """One line for the person who waits."""


@dataclass(frozen=True)
class Workspace:
    """A run under way.

    Attributes:
        config: As resolved.
        folder: The run folder.
        progress: Where progress goes.
        with_added: Whether sources that joined the run after its beginning are among its sources.
        engine: Where shards of the corpus are worked on.
        ranks: The processes that work on it.
        stop: Ends a training run after a step.
    """

    config: Config
    folder: RunFolder
    progress: Progress
    with_added: bool = True
    engine: Engine = field(default_factory=lambda: in_this_process)
    ranks: LaunchedRanks = field(default_factory=LaunchedRanks)
    stop: StopSignal = field(default_factory=StopSignal)

    def path(self, name: str) -> Path:
        """A place in the run folder."""
        return self.folder.path / name

    @cached_property
    def device(self) -> torch.device:
        """Where models run."""
        return model_device()

    @cached_property
    def sources(self) -> dict[str, SourceFiles]:
        """The training sources."""
        return {
            name: SourceFiles(name=name, paths=source.path, format=source.format)
            for name, source in self.source_configs.items()
        }

    @cached_property
    def source_configs(self) -> dict[str, SourceConfig]:
        """The sources of the config, then those that joined the run later."""
        added = {
            name: SourceConfig(path=tuple(source["path"]))
            for name, source in self.added_sources.items()
        }
        return {**self.config.data.sources, **added}

    @cached_property
    def added_sources(self) -> Mapping[str, Mapping[str, Any]]:
        """Sources that joined the run after its beginning."""
        if not self.with_added or not self.path("domains").exists():
            return {}
        return self.domains.added_sources

    def task_files(self, split: Split) -> dict[str, SourceFiles]:
        """The validation or test files of the tasks."""
        return {name: task_files(name, task, split) for name, task in self.config.tasks.items()}

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of all models of the run."""
        return load_tokenizer(
            str(self.path("tokenizer")), trust_remote_code=self.config.trust_remote_code
        )

    @cached_property
    def collate(self) -> PaddingCollator:
        """Pads samples into a batch."""
        return PaddingCollator(int(self.tokenizer.pad_token_id or 0))

    def new_model(self, config: ModelConfig) -> PreTrainedModel:
        """A model as the config describes it, fitting the run's tokenizer and seed."""
        return build_model(
            config,
            vocab_size=len(self.tokenizer),
            seed=self.config.seed,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            trust_remote_code=self.config.trust_remote_code,
        )

    def saved_model(self, name: str) -> PreTrainedModel:
        """The model that the stage of this name has saved, on its device."""
        return saved_model(
            self.path(name) / "model",
            self.device,
            trust_remote_code=self.config.trust_remote_code,
        )

    @cached_property
    def source_stores(self) -> list[TokenStore]:
        """The tokenised sources, in the config's order."""
        stores = {**self.folder.facts("tokens")["sources"], **self.added_sources}
        return [self._store(stores[name]) for name in self.sources]

    @cached_property
    def dataset(self) -> TokenDataset:
        """All training samples."""
        return TokenDataset(self.source_stores)

    def task_store(self, task: str, split: Split) -> TokenStore:
        """The tokenised items of a task."""
        return self._store(self.folder.facts("tokens")[split][task])

    @cached_property
    def scored_tasks(self) -> list[str]:
        """Tasks that have completions: those with a loss."""
        return [
            task
            for task in self.config.tasks
            if self.task_store(task, "validation").num_scored_tokens > 0
        ]

    def task_dataset(self, task: str, split: Split) -> TokenDataset:
        """The items of a task as a data set."""
        return TokenDataset([self.task_store(task, split)])

    @cached_property
    def domains(self) -> Domains:
        """The domains that the samples were grouped into."""
        return Domains.load(self.path("domains"))

    @cached_property
    def earlier_domains(self) -> list[Domains]:
        """The domains of before, from the run's beginning, where they were regrouped since."""
        folder = self.path(EARLIER_DOMAINS)
        return [Domains.load(folder / str(number)) for number in range(self.domains.grouping)]

    @cached_property
    def domain_data(self) -> DomainData:
        """The samples by domain."""
        members = self.domains.samples()
        return DomainData(
            dataset=self.dataset,
            names=self.domains.names,
            members=members,
            max_repeats=[self._max_repeats(k) for k in range(len(members))],
            at_end=[self._at_end(k) for k in range(len(members))],
            earlier=[Grouping(before.names, before.samples()) for before in self.earlier_domains],
        )

    def _max_repeats(self, domain: int) -> int | None:
        """The strictest limit of the sources that a domain draws from."""
        repeats = [source.max_repeats for source in self._sources_of(domain)]
        return min((limit for limit in repeats if limit is not None), default=None)

    def _at_end(self, domain: int) -> AtEnd:
        """``stop`` if one of the limited sources that a domain draws from says so."""
        limited = [s for s in self._sources_of(domain) if s.max_repeats is not None]
        return "stop" if any(source.at_end == "stop" for source in limited) else "renormalise"

    def _sources_of(self, domain: int) -> list[SourceConfig]:
        counts = self.domains.source_counts_ks[domain]
        sources = self.source_configs.values()
        return [source for source, count in zip(sources, counts, strict=True) if count > 0]

    @cached_property
    def known_names(self) -> KnownNames:
        """What a steering may speak of."""
        return self.names_with(self.domains)

    def names_with(self, domains: Domains) -> KnownNames:
        """What a steering may speak of once these domains hold."""
        joining = (name for name in domains.added_sources if name not in self.sources)
        return KnownNames.of(
            domains.names,
            [*self.sources, *joining],
            list(self.config.tasks),
            self.scored_tasks,
            domains.source_counts_ks,
        )

    @property
    def steering_path(self) -> Path:
        """The file that steers the run."""
        return self.path(STEERING_NAME)

    def _store(self, folder: Mapping[str, Any]) -> TokenStore:
        store = open_token_store(Path(folder["folder"]), folder["key"])
        if store is None:
            raise InputError(
                f"{folder['folder']}: the tokenised data is missing or damaged; `dids run "
                f"{self.folder.path}` makes it again."
            )
        return store
