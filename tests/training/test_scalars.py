"""Names of scalars are stable and documented, and arrive where the Trainer reports to."""

import re
from pathlib import Path

import pytest
from tiny_rounds import tiny_rounds, trained
from tiny_trainer import SIZES, START

from dids.training import DomainMixture

ROOT = Path(__file__).parent.parent.parent
SCALARS = ("mixture/web", "task_loss/sums", "domain_loss/code", "run/tokens")


def logged(trainer):
    """What the Trainer itself keeps, at the steps 2, 4, 6 and 8."""
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_the_scalars_are_those_of_the_documentation(tmp_path):
    """docs/see.md promises these names; a dashboard breaks when one changes."""
    page = (ROOT / "docs" / "see.md").read_text(encoding="utf-8")
    promised = set(re.findall(r"^\| `([\w/]+)` \|", page, re.MULTILINE))
    logged = {
        re.sub(r"(?<=/)(web|code|junk|sums)$", "NAME", name)
        for mixture in (tiny_rounds(), DomainMixture(START, SIZES))
        for entry in trained(tmp_path, mixture).state.log_history
        for name in entry
        if "/" in name
    }
    assert logged == promised


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_scalars(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = trained(tmp_path, tiny_rounds(), report_to="tensorboard")
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    scalars = EventAccumulator(str(events.parent)).Reload()
    for name in SCALARS:
        found = scalars.Scalars(f"train/{name}")
        assert [event.step for event in found] == [2, 4, 6, 8]
        expected = [entry[name] for entry in logged(trainer)]
        assert [event.value for event in found] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_has_the_scalars(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    trainer = trained(tmp_path, tiny_rounds(), report_to="wandb")
    summary = dict(wandb.run.summary)
    wandb.finish()
    for name in SCALARS:
        assert summary[f"train/{name}"] == pytest.approx(logged(trainer)[-1][name])


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_the_scalars(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    trainer = trained(tmp_path, tiny_rounds(), report_to="mlflow")
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    for name in SCALARS:
        found = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
        found = sorted(found, key=lambda metric: metric.step)  # it is written from a thread
        assert [metric.step for metric in found] == [2, 4, 6, 8]
        expected = [entry[name] for entry in logged(trainer)]
        assert [metric.value for metric in found] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore")
def test_trackio_gets_the_scalars(tmp_path, monkeypatch):
    trackio = pytest.importorskip("trackio")
    sent = []
    monkeypatch.setattr(trackio, "log", lambda metrics, **_: sent.append(metrics))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trainer = trained(tmp_path, tiny_rounds(), report_to="trackio")
    for name in SCALARS:
        found = [metrics[f"train/{name}"] for metrics in sent if f"train/{name}" in metrics]
        assert found == pytest.approx([entry[name] for entry in logged(trainer)])
