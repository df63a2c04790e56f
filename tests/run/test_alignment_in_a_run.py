"""An alignment stands between features and domains, and policies see what domains were made of."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_run import write_config

from dids.alignment import ALIGNMENTS, Composed
from dids.config import load_config
from dids.domains.aligned_features import AlignedFeatures
from dids.domains.clustering import cluster_features
from dids.domains.feature_source import directions
from dids.errors import InputError
from dids.run.alignment import FOLDER, aligned_features, fitted_alignment, task_directions
from dids.run.alignment_account import read_account
from dids.run.feature_samples import feature_samples
from dids.run.features import computed_features
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.regroup import DomainChanges, regroup_domains
from dids.run.runner import run_stages

NAMES = ["style", "compact", "projection"]


def prepared(folder, last="domains", **changes):
    config = load_config(write_config(folder, **changes))
    return run_stages(config, RunFolder(folder / "run"), ConsoleProgress(), last=last)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    return prepared(
        tmp_path_factory.mktemp("aligned"),
        features={"dim": 64, "alignment": NAMES},
        domains={"number": 4, "within": "all", "min_samples": 5},
    )


def fitted_by_hand(work):
    raw_nd = directions(computed_features(work), np.arange(len(work.dataset)))
    task_td = np.concatenate(list(task_directions(work).values()))
    source_n = work.dataset.source_of_sample.astype(np.int64)
    return raw_nd, source_n, Composed.fit(NAMES, raw_nd, source_n, task_td, seed=0)


def test_domains_are_those_of_the_aligned_features(aligned):
    raw_nd, source_n, fitted = fitted_by_hand(aligned)
    expected = cluster_features(
        fitted.aligned(raw_nd, source_n), source_n, 4, "all", 0,
        source_names=list(aligned.sources), min_samples=5,
    )  # fmt: skip
    np.testing.assert_array_equal(aligned.domains.domain_of_sample, expected.domain_of_sample)


def test_policies_are_given_aligned_features(aligned):
    raw_nd, source_n, fitted = fitted_by_hand(aligned)
    known = directions(fitted.aligned(raw_nd, source_n), np.arange(len(raw_nd)))
    for rows, members in zip(
        feature_samples(aligned).domains, aligned.domain_data.members, strict=True
    ):
        assert (rows @ known[members].T).max(axis=1).min() > 1 - 1e-4


def test_the_account_says_what_was_measured(aligned):
    account = read_account(aligned.path("domains"))
    assert account["names"] == NAMES
    confidence_n = np.load(aligned.path("domains") / "confidence.npy")
    assert len(confidence_n) == len(aligned.dataset)
    for name, sample_n in zip(aligned.domains.names, aligned.domains.samples(), strict=True):
        assert account["confidence"][name] == pytest.approx(confidence_n[sample_n].mean(), abs=1e-3)
    for task in ("sums", "colours"):
        found = account["tasks"][task]
        assert set(found["unexplained"]) == {"sample", "domain", "corpus"}
        assert found["sentence"].startswith(task)
        assert sum(found["by_source"].values()) == pytest.approx(1.0)


def test_what_was_fitted_is_kept_and_damage_is_told(aligned, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Composed, "fit", None)  # calling it would fail
        assert fitted_alignment(aligned).names == tuple(NAMES)
    path = aligned.path(FOLDER) / "0.npz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        fitted_alignment(aligned)
    path.write_bytes(content)


def test_without_an_alignment_features_are_the_runs_own(tmp_path):
    work = prepared(tmp_path)
    assert not isinstance(aligned_features(work), AlignedFeatures)
    assert not work.path(FOLDER).exists() and read_account(work.path("domains")) is None


def test_a_finished_run_tells_what_is_unlike(tmp_path):
    work = prepared(
        tmp_path,
        last="report",
        features={"dim": 64, "alignment": "projection"},
        mixture={"policy": "uniform", "rounds": 1},
        budget={"tokens": 600},
        control=None,
    )
    sentence = read_account(work.path("domains"))["tasks"]["sums"]["sentence"]
    assert sentence in work.path("report.html").read_text(encoding="utf-8")


def test_domains_of_an_aligned_run_can_be_split_and_sources_added(tmp_path):
    work = prepared(
        tmp_path,
        features={"dim": 64, "alignment": NAMES},
        domains={"number": 4, "within": "all", "min_samples": 5},
    )
    largest = work.domains.names[int(work.domains.size_k.argmax())]
    changes = DomainChanges(adds=[f"more={tmp_path / 'noise.jsonl'}"], splits=[f"{largest}=2"])
    changed = regroup_domains(work.config, work.folder, ConsoleProgress(), changes)
    assert len(changed) == len(work.domains) + 2
    now = replace(work)
    found = feature_samples(now)
    assert len(found.domains) == len(changed)
    assert all(np.isfinite(rows).all() and len(rows) for rows in found.domains)


def test_there_is_nothing_to_align_where_sources_are_kept(tmp_path):
    path = write_config(
        tmp_path, features={"dim": 64, "alignment": "style"}, domains={"number": "sources"}
    )
    with pytest.raises(InputError, match=r"features\.alignment needs domains made of features"):
        load_config(path)


def test_every_alignment_can_be_named_and_an_empty_list_is_none(tmp_path):
    every = list(ALIGNMENTS)
    config = load_config(write_config(tmp_path, features={"dim": 64, "alignment": every}))
    assert list(config.features.alignment) == every
    config = load_config(write_config(tmp_path, features={"dim": 64, "alignment": []}))
    assert not config.features.alignment


def test_an_unknown_name_is_one_sentence(tmp_path):
    path = write_config(tmp_path, features={"dim": 64, "alignment": ["styel"]})
    with pytest.raises(InputError, match=r"features\.alignment"):
        load_config(path)
