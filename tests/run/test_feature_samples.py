"""Policies that compare features see the run's own, and the tasks' by the same projection."""

import re

import numpy as np
import pytest
from tiny_run import write_config

from dids.config import load_config
from dids.domains.feature_source import directions
from dids.gradients.sample_features import sample_features
from dids.run import drawn_features as module
from dids.run import feature_samples as feature_samples_module
from dids.run.feature_samples import FOLDER, feature_samples
from dids.run.features import computed_features
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.projection import projection_of
from dids.run.runner import run_stages


def prepared(folder, **changes):
    """A run with its domains."""
    config = load_config(write_config(folder, **changes))
    return run_stages(config, RunFolder(folder / "run"), ConsoleProgress(), last="domains")


HIDDEN_EXPERTS = {
    "model_type": "jetmoe",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_local_experts": 16,
}
"""Whose layers are neither linear nor the experts that Transformers describes."""


@pytest.mark.parametrize("has_experts", [True, False])
def test_a_proxy_of_which_most_is_left_out_is_told_once(tmp_path, capsys, has_experts):
    changes = {"model": {"config": HIDDEN_EXPERTS}} if has_experts else {}
    prepared(tmp_path, **changes)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("Features and impact see") == has_experts
    if has_experts:
        assert re.search(r"Features and impact see \d+ % of the proxy's trainable entries", said)
        assert "the largest are model.layers.0." in said


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("clustered"))


def on_the_proxy(work, dataset, samples):
    """Directions of features, one sample at a time."""
    model, projection = work.saved_model("proxy"), projection_of(work)
    found = [
        sample_features(model, work.collate([dataset[int(sample)]]), projection)[0].numpy()
        for sample in samples
    ]
    return directions(np.stack(found), np.arange(len(found)))


def test_features_of_domains_are_the_runs_and_those_of_tasks_the_proxys(clustered):
    found = feature_samples(clustered)
    assert found.task_names == ("colours", "sums")
    store = computed_features(clustered)
    for rows, members in zip(found.domains, clustered.domain_data.members, strict=True):
        known = directions(store, members)
        assert len(rows) == min(len(members), module.MOST_SAMPLES)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
        # Every row is one of the domain's.
        assert (rows @ known.T).max(axis=1).min() > 1 - 1e-5
    dataset = clustered.task_dataset("colours", "validation")
    expected = on_the_proxy(clustered, dataset, range(8))
    np.testing.assert_allclose(found.tasks[0], expected, atol=1e-4)


def test_they_are_kept_and_read_back_and_damage_is_mended(clustered, monkeypatch):
    first = feature_samples(clustered)
    path = clustered.path(FOLDER) / "features.npy"
    content = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(module, "features_of", None)  # calling it would fail
        again = feature_samples(clustered)
    for one, other in zip(first.domains + first.tasks, again.domains + again.tasks, strict=True):
        np.testing.assert_array_equal(one, other)
    path.write_bytes(content[:-4])
    feature_samples(clustered)
    assert path.read_bytes() == content


def test_fewer_are_taken_of_large_domains_and_the_seed_says_which(clustered, monkeypatch):
    for each in (module, feature_samples_module):  # the draw, and the key of what is kept
        monkeypatch.setattr(each, "MOST_SAMPLES", 5)
    found = feature_samples(clustered)
    assert [len(rows) for rows in found.domains] == [5] * len(clustered.domains)
    assert [len(rows) for rows in found.tasks] == [5, 5]


def test_where_sources_are_kept_the_proxy_is_asked(tmp_path):
    work = prepared(tmp_path, domains={"number": "sources"})
    found = feature_samples(work)
    assert not (work.path("features") / "manifest.json").exists()
    members = work.domain_data.members
    assert [len(rows) for rows in found.domains] == [module.FEWEST_SAMPLES] * len(members)
    for rows, samples in zip(found.domains, members, strict=True):
        known = on_the_proxy(work, work.dataset, samples)
        assert (rows @ known.T).max(axis=1).min() > 1 - 1e-4


@pytest.mark.parametrize(("num_known", "expected"), [(100, 64), (30, 30), (10, 16), (0, 16)])
def test_where_only_a_share_has_features_these_come_first(clustered, num_known, expected):
    dataset, everything = clustered.dataset, np.arange(len(clustered.dataset))
    is_stored = np.zeros(len(everything), dtype=bool)
    is_stored[:num_known] = True
    chosen = module.drawn_samples(dataset, everything, is_stored, [0, 1])
    assert len(np.unique(chosen)) == len(chosen) == expected
    assert is_stored[chosen].sum() == min(num_known, expected)
