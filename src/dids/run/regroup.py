"""Other domains for a run that is stopped: it goes on with them and keeps what it has learned.

``domains/`` is replaced whole, and that is all that happens here; the checkpoint is brought into
the new domains when training goes on.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from dids.config import Config
from dids.data.dataset import TokenDataset
from dids.data.token_store import open_token_store
from dids.domains.changing import merged_domains, split_domain, with_new_source
from dids.domains.domains import Domains
from dids.domains.feature_source import FeatureSource, SparseFeatures
from dids.domains.ngram_vectors import NgramVectors
from dids.errors import InputError
from dids.run.alignment import aligned_features
from dids.run.folder import RunFolder
from dids.run.runner import opened_run
from dids.run.stages.check import check_unchanged
from dids.run.stages.tokens import added_source
from dids.run.workspace import EARLIER_DOMAINS, Progress, Workspace
from dids.steering.follower import checked_steering

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DomainChanges:
    """What is to become of a run's domains, in this order.

    Attributes:
        adds: ``NAME=PATH``: a new source, which is one domain of its own.
        splits: ``NAME=NUMBER``: a domain in so many parts.
        merges: ``NAME=DOMAIN,DOMAIN``: several domains in one; patterns with ``*`` may stand for
            them.
    """

    adds: Sequence[str] = ()
    splits: Sequence[str] = ()
    merges: Sequence[str] = ()


def regroup_domains(
    config: Config, folder: RunFolder, progress: Progress, changes: DomainChanges
) -> Domains:
    """Change the domains of a run between two of its sessions.

    Raises:
        InputError: If the run has no domains yet or is trained already, a change cannot be made, or
            ``steering.yaml`` does not fit the new domains. Nothing is changed then.
    """
    _check_stage(folder)
    with opened_run(config, folder, progress) as work:
        check_unchanged(work)
        domains, dataset = _with_added(work, work.domains, changes.adds)
        domains = _with_splits(work, domains, dataset, changes.splits)
        domains = _with_merges(work, domains, dataset, changes.merges)
        _check_steering(work, domains)
        work.domains.save(work.path(EARLIER_DOMAINS) / str(work.domains.grouping))
        domains = replace(domains, grouping=work.domains.grouping + 1)
        domains.save(work.path("domains"))
        logger.info("%d domains became %d", len(work.domains), len(domains))
    return domains


def _check_stage(folder: RunFolder) -> None:
    if not folder.is_done("domains"):
        raise InputError(
            f"{folder.path}: the run has no domains yet; `dids domains` makes them first."
        )
    if folder.is_done("train"):
        raise InputError(
            f"{folder.path}: the run is trained already; domains change only while it goes on."
        )


def _with_added(
    work: Workspace, domains: Domains, adds: Sequence[str]
) -> tuple[Domains, TokenDataset]:
    stores = list(work.source_stores)
    for add in adds:
        name, path = _parts(add, "--add", "NAME=PATH")
        if name in (*work.sources, *domains.added_sources):
            raise InputError(f"--add {add}: the run has a source '{name}' already; name it anew.")
        if name in work.config.task_stores:
            raise InputError(
                f"--add {add}: the run calls files of the task '{work.config.task_stores[name]}' "
                f"'{name}'; name the source otherwise."
            )
        if not path.startswith(("hf:", "python:")):
            path = str(Path(path).expanduser().absolute())
        added = added_source(work, name, path)
        store = open_token_store(Path(added["folder"]), added["key"])
        assert store is not None, "it was written just now"
        stores.append(store)
        domains = with_new_source(domains, name, store.num_samples)
        domains = replace(domains, added_sources={**domains.added_sources, name: added})
    return domains, TokenDataset(stores)


def _with_splits(
    work: Workspace, domains: Domains, dataset: TokenDataset, splits: Sequence[str]
) -> Domains:
    for split in splits:
        name, number = _parts(split, "--split", "NAME=NUMBER")
        if not number.isdecimal():
            raise InputError(f"--split {split}: '{number}' is no number of parts, such as 2.")
        domains = split_domain(
            domains,
            name,
            int(number),
            dataset.source_of_sample,
            _features(work, len(dataset)),
            NgramVectors(dataset),
            work.config.seed,
        )
    return domains


def _with_merges(
    work: Workspace, domains: Domains, dataset: TokenDataset, merges: Sequence[str]
) -> Domains:
    for merge in merges:
        name, listed = _parts(merge, "--merge", "NAME=DOMAIN,DOMAIN")
        chosen: list[str] = []
        for pattern in listed.split(","):
            fitting = [pattern] if pattern in domains.names else [
                other for other in domains.names if fnmatchcase(other, pattern)
            ]  # fmt: skip
            chosen += fitting or [pattern]  # whose absence is told with the names there are
        features = _features(work, len(dataset))
        domains = merged_domains(domains, name, chosen, dataset.source_of_sample, features)
    return domains


def _features(work: Workspace, num_samples: int) -> FeatureSource | None:
    """The gradient features that the run has taken; zero for samples that joined it later."""
    if work.config.domains.number == "sources":
        return None
    features = aligned_features(replace(work, with_added=False))
    if len(features) == num_samples:
        return features
    return SparseFeatures(features, np.arange(len(features)), num_samples)


def _check_steering(work: Workspace, domains: Domains) -> None:
    """Refuse domains that ``steering.yaml`` cannot be kept with."""
    if not work.steering_path.exists():
        return
    try:
        checked_steering(work.steering_path, work.names_with(domains))
    except InputError as error:
        raise InputError(
            f"{error} Edit it for the new domains first; nothing was changed."
        ) from None


def _parts(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, rest = text.rpartition("=") if option == "--split" else text.partition("=")
    if not equals or not name or not rest:
        raise InputError(f"{option} {text}: must have the form {form}.")
    return name, rest
