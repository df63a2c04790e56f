"""A whole run: what it leaves, that it repeats, and that a kill anywhere changes nothing."""

import json
import math
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from launched import killed_when
from tiny_run import WORDS, write_config

from dids import cli
from dids.run.run_state import run_state

STAGES = [
    "check",
    "tokenizer",
    "tokens",
    "proxy",
    "features",
    "domains",
    "impact",
    "train",
    "control",
    "evaluate",
    "report",
]


def call(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["dids", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0


def result_of(folder: Path) -> dict:
    return json.loads((folder / "run" / "result.json").read_text(encoding="utf-8"))


def essence(result: dict) -> dict:
    """What must not change between two runs of one config: everything but times and paths."""
    kept = ("seed", "tokens", "steps", "tasks", "mixture", "impact", "stability")
    control = {key: result["control"][key] for key in ("tokens", "steps", "tasks")}
    domains = {
        name: {key: value for key, value in domain.items() if key != "examples"}
        for name, domain in result["domains"].items()
    }
    return {key: result[key] for key in kept} | {"control": control, "domains": domains}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    config = write_config(folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        call(monkeypatch, "run", config)
    return folder


def test_result_holds_what_the_documentation_says(finished):
    result = result_of(finished)
    for task in ("sums", "colours"):
        assert result["tasks"][task]["test_loss"] > 0
        assert result["control"]["tasks"][task]["test_loss"] > 0
        losses = result["tasks"][task]["validation_history"]
        assert losses[0][0] == 0
        assert losses[-1][0] == result["tokens"]
    assert "accuracy" in result["tasks"]["colours"]
    assert result["tokens"] >= result["budget_tokens"] == 4000
    assert set(result["versions"]) >= {"dids", "python", "torch", "transformers"}
    assert result["seed"] == 0
    assert result["overhead"] > 0


def test_every_round_has_a_mixture_that_sums_to_one(finished):
    mixture = result_of(finished)["mixture"]
    assert [entry["round"] for entry in mixture] == [0, 1, 2, 3]
    for entry in mixture:
        assert sum(entry["probability"].values()) == pytest.approx(1.0)
        assert min(entry["probability"].values()) >= 0.25 / 4 - 1e-9  # the floor: 0.25 of 1/k


def test_domains_account_for_every_sample_and_token(finished):
    result = result_of(finished)
    domains = result["domains"]
    size_by_source = {
        source: sum(domain["source_counts"].get(source, 0) for domain in domains.values())
        for source in WORDS
    }
    assert size_by_source["sums"] == size_by_source["colours"] == 60
    assert size_by_source["noise"] >= 40  # text longer than sequence_length becomes several samples
    assert sum(d["samples"] for d in domains.values()) == sum(size_by_source.values())
    assert sum(d["tokens_drawn"] for d in domains.values()) == result["tokens"]
    assert sum(d["samples_drawn"] for d in domains.values()) == result["steps"] * 4
    assert all(domain["examples"] for domain in domains.values())


def test_every_token_is_drawn_first_again_or_never(finished):
    domains = result_of(finished)["domains"].values()
    assert any(domain["tokens_repeated"] > 0 for domain in domains)
    assert any(domain["tokens_unseen"] > 0 for domain in domains)
    for domain in domains:
        fresh = domain["tokens_drawn"] - domain["tokens_repeated"]
        assert fresh == domain["tokens"] - domain["tokens_unseen"]
        assert (domain["tokens_repeated"] > 0) == (domain["repeats"] > 0)
        assert domain["tokens_left"] is None  # no source has a limit


def test_the_map_shows_samples_of_every_domain(finished):
    result = result_of(finished)
    points = result["feature_map"]["points"]
    size_by_domain = {name: domain["samples"] for name, domain in result["domains"].items()}
    assert Counter(point["domain"] for point in points) == size_by_domain  # few enough for all
    assert all(point["text"] for point in points)
    assert 1 >= result["feature_map"]["explained"][0] >= result["feature_map"]["explained"][1] > 0


def test_a_finished_run_says_so_to_whoever_watches(finished):
    state = run_state(finished / "run")
    assert state.status == "done"
    assert state.live.is_over
    assert state.live.tokens == result_of(finished)["tokens"]
    newest = result_of(finished)["mixture"][-1]["probability"]
    assert state.live.mixtures[-1] == newest


def test_domains_are_compared_with_those_of_another_seed(finished):
    stability = result_of(finished)["stability"]
    # Four domains of three sources: one source is divided, and has 60 samples at most.
    assert 0 < stability["num_samples"] <= 60
    assert -0.5 <= stability["adjusted_rand"] <= 1
    assert 0 <= stability["mutual_information"] <= 1
    assert "adjusted Rand index" in (finished / "run" / "report.html").read_text(encoding="utf-8")


def test_run_folder_holds_open_formats_only(finished):
    pickled = {".pt", ".pth", ".bin", ".pkl"}
    outside_checkpoints = [
        path
        for path in (finished / "run").rglob("*")
        if path.suffix in pickled and "checkpoint-" not in path.parent.name
    ]
    assert [path.name for path in outside_checkpoints if path.name != "training_args.bin"] == []


def test_same_seed_gives_the_same_mixture_and_losses(finished, tmp_path, monkeypatch):
    call(monkeypatch, "run", write_config(tmp_path))
    assert essence(result_of(tmp_path)) == essence(result_of(finished))


def test_another_seed_gives_another_run(finished, tmp_path, monkeypatch):
    call(monkeypatch, "run", write_config(tmp_path, seed=1))
    assert essence(result_of(tmp_path)) != essence(result_of(finished))


def test_stages_one_at_a_time_give_the_same_as_all_at_once(finished, tmp_path, monkeypatch):
    config = write_config(tmp_path)
    call(monkeypatch, "features", config)
    assert not (tmp_path / "run" / "domains").exists()
    for stage in ("domains", "impact", "train", "evaluate", "report"):
        call(monkeypatch, stage, tmp_path / "run")
    assert essence(result_of(tmp_path)) == essence(result_of(finished))


def test_a_task_of_one_file_is_halved_and_the_run_sees_one_half(tmp_path, monkeypatch, capsys):
    config = write_config(
        tmp_path,
        tasks={"sums": str(tmp_path / "sums-validation.jsonl")},
        mixture={"policy": "dids", "rounds": 2},
        control=None,
    )
    stored = tmp_path / "run" / "tokens"
    call(monkeypatch, "run", config)
    assert set(result_of(tmp_path)["tasks"]) == {"sums"}
    checked = json.loads((tmp_path / "run" / "check.json").read_text(encoding="utf-8"))
    items = [checked["tasks"]["sums"][split]["items"] for split in ("validation", "test")]
    assert sum(items) == 12
    assert min(items) > 0
    records = [
        json.loads(path.read_text(encoding="utf-8"))["num_records"]
        for split in ("validation", "test")
        for path in stored.glob(f"sums-{split}-*/meta.json")
    ]
    assert records == items


def test_finished_run_is_not_run_again(finished, monkeypatch, capsys):
    before = (finished / "run" / "train" / "history.json").stat().st_mtime_ns
    call(monkeypatch, "run", finished / "config.yaml")
    assert (finished / "run" / "train" / "history.json").stat().st_mtime_ns == before
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert "sums" in printed


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, monkeypatch, capsys):
    call(monkeypatch, "run", write_config(tmp_path), "--dry-run", "--no-calibration")
    printed = capsys.readouterr().out
    assert "160" not in printed.split("\n")[0]
    for word in ("sums", "steps", "features on disk", "epochs"):
        assert word in printed
    assert not (tmp_path / "run").exists()


def test_dry_run_says_which_source_is_used_up_when(tmp_path, monkeypatch, capsys):
    config = write_config(tmp_path, budget={"tokens": 40_000}, mixture={"unit": "tokens"})
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    noise = {"path": settings["data"]["sources"]["noise"], "max_repeats": 3, "at_end": "stop"}
    settings["data"]["sources"]["noise"] = noise
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    call(monkeypatch, "run", config, "--dry-run", "--no-calibration")
    printed = capsys.readouterr().out
    said = r"^noise: 4\.0 epochs, cap reached at step (\d+), which ends the run$"
    found = re.search(said, printed, re.MULTILINE)
    assert 10 < int(found.group(1)) < 200


def test_a_run_that_ends_far_before_its_budget_says_so(tmp_path, monkeypatch):
    config = write_config(
        tmp_path, mixture={"policy": "uniform", "rounds": 2}, budget={"tokens": 200_000},
        domains={"number": "sources"}, control=None,
    )  # fmt: skip
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    sources = settings["data"]["sources"]
    settings["data"]["sources"] = {n: {"path": p, "max_repeats": 0} for n, p in sources.items()}
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    call(monkeypatch, "run", config)
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert result["tokens"] < 20_000
    said = f"The run ended after {result['tokens']:,} of 200,000 tokens"
    assert any(warning.startswith(said) for warning in result["warnings"])


def test_weights_in_tokens_give_a_run_whose_token_shares_follow(tmp_path, monkeypatch):
    config = write_config(
        tmp_path, mixture={"policy": "uniform", "unit": "tokens", "rounds": 2},
        domains={"number": "sources"}, control=None,
    )  # fmt: skip
    call(monkeypatch, "run", config)
    drawn = json.loads((tmp_path / "run" / "train" / "drawn.json").read_text(encoding="utf-8"))
    tokens = [domain["tokens_drawn"] for domain in drawn["domains"].values()]
    assert sum(tokens) >= 4000
    assert max(tokens) - min(tokens) < 100


SHARE = {
    "features": {"dim": 64, "share": 0.4},
    "domains": {"number": 6, "within": "all", "min_samples": 5},
}


@pytest.fixture(scope="module")
def finished_share(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("share")
    config = write_config(folder, **SHARE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("dids.domains.needed_features.MIN_A_DOMAIN", 4)
        call(monkeypatch, "run", config)
    return folder


def test_a_share_of_the_features_places_every_sample(finished_share):
    result = result_of(finished_share)
    manifest = json.loads((finished_share / "run" / "features" / "manifest.json").read_text())
    total = sum(domain["samples"] for domain in result["domains"].values())
    assert 0.4 * total <= manifest["num_samples"] < 0.5 * total
    assert result["stability"]["num_samples"] == total
    # Three kinds of words: text tells them apart, so few domains mix sources much.
    purest = sum(max(d["source_counts"].values()) for d in result["domains"].values())
    assert purest > 0.8 * total


def test_a_share_of_the_features_is_in_the_plan(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dids.domains.needed_features.MIN_A_DOMAIN", 4)
    call(monkeypatch, "run", write_config(tmp_path, **SHARE), "--dry-run", "--no-calibration")
    found = re.search(
        r"gradient features: (\d+) of (\d+) samples\nfeatures on disk: ([\d,]+) bytes",
        capsys.readouterr().out,
    )
    features, samples, octets = (int(group.replace(",", "")) for group in found.groups())
    assert features == math.ceil(0.4 * samples)
    assert octets == features * 64 * 2


@pytest.mark.parametrize("stage", ["features", "domains"])
def test_a_share_of_the_features_resumes_with_the_same_samples(tmp_path, monkeypatch, stage):
    monkeypatch.setattr("dids.domains.needed_features.MIN_A_DOMAIN", 4)
    config = write_config(tmp_path, **SHARE)
    call(monkeypatch, stage, config)
    features = tmp_path / "run" / "features"
    before = {path.name: path.read_bytes() for path in features.iterdir()}
    (features / "part-00000.npy").write_bytes(b"")
    (tmp_path / "run" / "stages" / f"{stage}.json").unlink()
    # The cheap clusters come out otherwise this time, as they may with other threads.
    monkeypatch.setattr("dids.domains.stratified_draw.SAMPLES_PER_CLUSTER", 7)
    call(monkeypatch, "domains", config)
    assert {path.name: path.read_bytes() for path in features.iterdir()} == before


@pytest.mark.parametrize("file", ["part-00000.npy", "manifest.json"])
def test_damaged_features_are_named_and_rebuilt_when_they_are_needed(
    tmp_path, monkeypatch, capsys, file
):
    config = write_config(tmp_path)
    call(monkeypatch, "features", config)
    features = tmp_path / "run" / "features"
    before = {path.name: path.read_bytes() for path in features.iterdir()}
    octets = bytearray(before[file])
    octets[-4] ^= 1
    (features / file).write_bytes(octets)
    capsys.readouterr()
    call(monkeypatch, "domains", config)  # the stage of the features counts as done
    assert str(features / file) in capsys.readouterr().err.replace("\n", "")
    assert log_says(tmp_path, f"WARNING dids.gradients.feature_store: {features / file} is")
    assert {path.name: path.read_bytes() for path in features.iterdir()} == before


def log_says(folder: Path, text: str) -> bool:
    log = folder / "run" / "log.txt"
    return log.exists() and text in log.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("stage", STAGES)
def test_run_killed_in_a_stage_ends_as_if_left_alone(finished, tmp_path, monkeypatch, stage):
    config = write_config(tmp_path)
    assert killed_when(tmp_path, config, lambda folder: log_says(folder, f"stage {stage} begins"))
    call(monkeypatch, "run", config)
    assert essence(result_of(tmp_path)) == essence(result_of(finished))


@pytest.mark.parametrize("run", ["train", "control"])
def test_run_killed_after_a_checkpoint_ends_as_if_left_alone(finished, tmp_path, monkeypatch, run):
    config = write_config(tmp_path)

    def has_checkpoint(folder: Path) -> bool:
        return any((folder / "run" / run).glob("checkpoint-*/dids_state.json"))

    assert killed_when(tmp_path, config, has_checkpoint)
    assert not (tmp_path / "run" / "stages" / f"{run}.json").exists()
    call(monkeypatch, "run", config)
    assert essence(result_of(tmp_path)) == essence(result_of(finished))


def test_run_killed_while_it_saves_ends_as_if_left_alone(finished, tmp_path, monkeypatch):
    config = write_config(tmp_path)

    def is_saving(folder: Path) -> bool:
        return any((folder / "run" / "train").glob("checkpoint-*"))

    assert killed_when(tmp_path, config, is_saving)
    call(monkeypatch, "run", config)
    assert essence(result_of(tmp_path)) == essence(result_of(finished))
