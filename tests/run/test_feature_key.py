from types import SimpleNamespace

import pytest

from dids.config.schema import Config
from dids.gradients.projection import Projection
from dids.run import features as features_module
from dids.run.features import feature_key
from dids.run.workspace import Workspace


class Prepared(Workspace):
    """A run folder whose data and proxy are there."""

    source_stores = (SimpleNamespace(key="a"),)
    dataset = range(3)

    def path(self, name):
        return self.run_folder / name


def workspace(folder, **features):
    (folder / "proxy" / "model").mkdir(parents=True, exist_ok=True)
    (folder / "proxy" / "model" / "model.safetensors").write_bytes(b"weights")
    config = Config.model_validate(
        {
            "run": str(folder),
            "data": {"sources": {"a": "a.jsonl"}},
            "tasks": {"t": {"validation": "v.jsonl", "test": "w.jsonl"}},
            "tokenizer": "gpt2",
            "model": "gpt2",
            "budget": {"tokens": 10},
            "features": features,
        }
    )
    work = object.__new__(Prepared)
    vars(work).update(config=config, run_folder=folder)
    return work


def unfitted(work):
    settings = work.config.features
    return Projection(settings.dim, kind=settings.projection)


@pytest.mark.parametrize(
    "other", [{"layers": "model.layers.1"}, {"projection": "exact"}, {"share": 0.5}]
)
def test_features_of_other_settings_are_other_features(tmp_path, other, monkeypatch):
    monkeypatch.setattr(features_module, "projection_of", unfitted)
    key = feature_key(workspace(tmp_path))
    assert feature_key(workspace(tmp_path)) == key
    assert feature_key(workspace(tmp_path, **other)) != key
