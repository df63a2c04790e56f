"""A run's records and weights, written for others and read back."""

import json
import re
import sys
from collections import Counter

import pyarrow.parquet
import pytest
import yaml
from run.tiny_run import write_jsonl
from small_run import LONG, small_run

from dids import cli
from dids.config.schema import DataConfig
from dids.export.targets import TARGETS

SOURCES = ("sums", "colours", "noise")


def call(monkeypatch, capsys, *arguments) -> str:
    """What a command prints; its one sentence if it fails."""
    monkeypatch.setattr(sys, "argv", ["dids", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    return captured.out


def refused(monkeypatch, capsys, *arguments) -> str:
    monkeypatch.setattr(sys, "argv", ["dids", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    assert stop.value.code == 2
    sentences = [line for line in captured.err.splitlines() if line.startswith("dids: ")]
    assert len(sentences) == 1
    return sentences[0]


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def halves(source, number):
    """Two clusters of the prompts, and one of all the rest."""
    return number % 2 if source == "sums" else 2


@pytest.fixture
def clusters(tmp_path):
    return small_run(tmp_path, domains=("sums/0", "sums/1", "rest"), domain_of=halves)


@pytest.fixture
def sources(tmp_path):
    return small_run(tmp_path)


def test_regrouped_records_are_the_ones_that_were_read(clusters, tmp_path, monkeypatch, capsys):
    out = tmp_path / "records"
    said = call(monkeypatch, capsys, "export", clusters, "--to", "jsonl", "--out", out)
    assert said.startswith(f"{out}: 160 records in the files of 3 domains\n")
    sums = lines_of(tmp_path / "sums.jsonl")
    assert lines_of(out / "sums-0.jsonl") == sums[::2]
    assert lines_of(out / "sums-1.jsonl") == sums[1::2]
    rest = lines_of(tmp_path / "colours.jsonl") + lines_of(tmp_path / "noise.jsonl")
    assert lines_of(out / "rest.jsonl") == rest
    told = json.loads((out / "domains.json").read_text(encoding="utf-8"))["domains"]
    assert told["rest"] == {
        "file": "rest.jsonl", "records": 100, "kinds": {"messages": 60, "text": 40},
    }  # fmt: skip


def test_a_long_text_is_whole_and_where_most_of_it_is(tmp_path, monkeypatch, capsys):
    whole = json.loads((small_run(tmp_path) / "result.json").read_text(encoding="utf-8"))
    pieces = whole["domains"]["noise"]["samples"] - 39  # of the eighth of forty texts
    assert pieces > 3

    def domain_of(source, number):  # all but the long text's last piece are in "b"
        return int(source == "noise" and 7 <= number < 7 + pieces - 1)

    run = small_run(
        tmp_path, run=str(tmp_path / "b"), domains=("a", "b"), domain_of=domain_of,
        rounds=((0, 0, (0.5, 0.5)),),
    )  # fmt: skip
    said = call(monkeypatch, capsys, "export", run, "--to", "jsonl")
    assert "1 long records have parts in several domains" in said
    in_b = lines_of(run / "export" / "records" / "b.jsonl")
    assert [record["text"] for record in in_b] == [LONG]
    assert len(lines_of(run / "export" / "records" / "a.jsonl")) == 159


def test_parquet_holds_the_same_records(clusters, tmp_path, monkeypatch, capsys):
    out = tmp_path / "tables"
    call(monkeypatch, capsys, "export", clusters, "--to", "parquet", "--out", out)
    table = pyarrow.parquet.read_table(out / "rest.parquet").to_pylist()
    known = [{k: v for k, v in row.items() if v is not None} for row in table]
    rest = lines_of(tmp_path / "colours.jsonl") + lines_of(tmp_path / "noise.jsonl")
    assert known == rest


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_one_file_has_every_record_with_its_domain(clusters, tmp_path, monkeypatch, capsys, format):
    out = tmp_path / f"all.{format}"
    call(
        monkeypatch, capsys,
        "export", clusters, "--to", format, "--column", "domain", "--out", out,
    )  # fmt: skip
    rows = lines_of(out) if format == "jsonl" else pyarrow.parquet.read_table(out).to_pylist()
    assert Counter(row["domain"] for row in rows) == {"sums/0": 30, "sums/1": 30, "rest": 100}
    assert rows[1]["domain"] == "sums/1"
    read = [record for name in SOURCES for record in lines_of(tmp_path / f"{name}.jsonl")]
    assert [{k: v for k, v in row.items() if k != "domain" and v is not None} for row in rows] == [
        *read
    ]
    assert not list(tmp_path.glob(".all*"))


def test_memory_is_bounded_and_order_is_kept(clusters, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dids.export.record_files.BYTES_IN_MEMORY", 500)
    monkeypatch.setattr("dids.export.record_files.ROWS_PER_WRITE", 3)
    call(monkeypatch, capsys, "export", clusters, "--to", "jsonl", "--out", tmp_path / "a")
    call(monkeypatch, capsys, "export", clusters, "--to", "parquet", "--out", tmp_path / "b")
    assert lines_of(tmp_path / "a" / "sums-1.jsonl") == lines_of(tmp_path / "sums.jsonl")[1::2]
    table = pyarrow.parquet.read_table(tmp_path / "b" / "sums-1.parquet").to_pylist()
    assert [row["prompt"] for row in table] == [
        record["prompt"] for record in lines_of(tmp_path / "sums.jsonl")[1::2]
    ]


def test_skipped_records_stay_out_and_are_counted(tmp_path, monkeypatch, capsys):
    small_run(tmp_path)
    noise = (tmp_path / "noise.jsonl").read_text(encoding="utf-8")
    (tmp_path / "noise.jsonl").write_text(noise + '{"text": ""}\n{no\n', encoding="utf-8")
    data = {"sources": {name: str(tmp_path / f"{name}.jsonl") for name in SOURCES},
            "sequence_length": 32, "on_bad_record": "skip"}  # fmt: skip
    run = small_run(tmp_path, data=data, run=str(tmp_path / "second"))
    said = call(monkeypatch, capsys, "export", run, "--to", "jsonl", "--out", tmp_path / "out")
    assert "160 records" in said
    assert "2 bad records are left out" in said


@pytest.mark.parametrize("name", TARGETS)
def test_weights_survive_export_and_import(name, tmp_path, monkeypatch, capsys):
    kinds = {"levanter": "text", "torchtitan": "text"}
    run = text_run(tmp_path) if name in kinds else small_run(tmp_path)
    call(monkeypatch, capsys, "export", run, "--to", name)
    file = run / "export" / TARGETS[name].file_name
    found = yaml.safe_load(call(monkeypatch, capsys, "import", file, "--from", name))
    sources = found.get("data", {}).get("sources") or found["mixture"]["domains"]
    exported = json_weights(run, TARGETS[name].unit, monkeypatch, capsys)
    assert {source: value["prior"] for source, value in sources.items()} == pytest.approx(
        exported, rel=1e-8
    )
    assert found["mixture"]["unit"] == ("tokens" if TARGETS[name].unit == "tokens" else "samples")


def json_weights(run, unit, monkeypatch, capsys, *more):
    out = run / "export" / f"{unit}.json"
    call(monkeypatch, capsys, "export", run, "--to", "json", "--unit", unit, "--out", out, *more)
    return json.loads(out.read_text(encoding="utf-8"))["weights"]


def text_run(folder):
    """All sources are texts."""
    for name in SOURCES:
        write_jsonl(folder / f"{name}.jsonl", [{"text": f"{name} {i}"} for i in range(30)])
    small = small_data_tasks(folder)
    return small_run(folder, **small)


def small_data_tasks(folder):
    for split in ("validation", "test"):
        write_jsonl(folder / f"t-{split}.jsonl", [{"text": f"sums {split} {i}"} for i in range(4)])
    task = {split: str(folder / f"t-{split}.jsonl") for split in ("validation", "test")}
    return {"tasks": {"t": task}}


def test_weights_are_those_of_the_last_round_and_of_the_whole(tmp_path, monkeypatch, capsys):
    run = small_run(tmp_path, unit="tokens")
    assert json_weights(run, "tokens", monkeypatch, capsys) == pytest.approx(
        {"sums": 0.1, "colours": 0.2, "noise": 0.7}
    )
    # A quarter of the tokens, a half, a quarter.
    assert json_weights(run, "tokens", monkeypatch, capsys, "--weights", "average") == (
        pytest.approx({"sums": 0.25, "colours": 0.275, "noise": 0.475})
    )


def test_whole_sources_are_referred_to_where_they_lie(sources, tmp_path, monkeypatch, capsys):
    call(monkeypatch, capsys, "export", sources, "--to", "ms-swift")
    value = yaml.safe_load((sources / "export" / "ms-swift.yaml").read_text(encoding="utf-8"))
    assert value["dataset"] == [str(tmp_path / f"{name}.jsonl") for name in SOURCES]
    assert not (sources / "export" / "records").exists()
    call(monkeypatch, capsys, "export", sources, "--to", "ms-swift", "--regroup")
    value = yaml.safe_load((sources / "export" / "ms-swift.yaml").read_text(encoding="utf-8"))
    records = sources / "export" / "records"
    assert value["dataset"] == [str(records / f"{name}.jsonl") for name in SOURCES]


@pytest.mark.parametrize("options", [(), ("--regroup",)])
def test_a_whole_source_that_mixes_kinds_is_refused(tmp_path, monkeypatch, capsys, options):
    small_run(tmp_path)  # writes the data
    texts, chats = lines_of(tmp_path / "noise.jsonl"), lines_of(tmp_path / "colours.jsonl")
    write_jsonl(tmp_path / "noise.jsonl", texts + chats[:40])
    run = small_run(tmp_path, run=str(tmp_path / "second"))
    said = refused(monkeypatch, capsys, "export", run, "--to", "llamafactory", *options)
    assert "'noise' mixes records with messages and text" in said


def test_files_with_skipped_records_are_not_referred_to(tmp_path, monkeypatch, capsys):
    small_run(tmp_path)  # writes the data
    noise = (tmp_path / "noise.jsonl").read_text(encoding="utf-8")
    (tmp_path / "noise.jsonl").write_text(noise + "{no\n", encoding="utf-8")
    data = {"sources": {name: str(tmp_path / f"{name}.jsonl") for name in SOURCES},
            "sequence_length": 32, "on_bad_record": "skip"}  # fmt: skip
    run = small_run(tmp_path, data=data, run=str(tmp_path / "second"))
    call(monkeypatch, capsys, "export", run, "--to", "ms-swift")
    value = yaml.safe_load((run / "export" / "ms-swift.yaml").read_text(encoding="utf-8"))
    records = run / "export" / "records"
    assert value["dataset"] == [str(records / f"{name}.jsonl") for name in SOURCES]
    assert len(lines_of(records / "noise.jsonl")) == 40


def test_clusters_are_written_out_and_referred_to(clusters, tmp_path, monkeypatch, capsys):
    said = call(monkeypatch, capsys, "export", clusters, "--to", "trl", "--data", tmp_path / "d")
    assert "3 domains for TRL" in said
    value = yaml.safe_load((clusters / "export" / "trl.yaml").read_text(encoding="utf-8"))
    files = [dataset["data_files"] for dataset in value["datasets"]]
    assert files == [[str(tmp_path / "d" / f"{s}.jsonl")] for s in ("sums-0", "sums-1", "rest")]
    assert len(lines_of(tmp_path / "d" / "rest.jsonl")) == 100
    # Names come back though the form has none and files cannot be called so.
    printed = call(monkeypatch, capsys, "import", clusters / "export" / "trl.yaml", "--from", "trl")
    assert set(yaml.safe_load(printed)["data"]["sources"]) == {"sums-0", "sums-1", "rest"}
    (clusters / "export" / "trl.yaml.domains.json").unlink()
    printed = call(monkeypatch, capsys, "import", clusters / "export" / "trl.yaml", "--from", "trl")
    assert set(yaml.safe_load(printed)["data"]["sources"]) == {"sums-0", "sums-1", "rest"}


def test_the_file_says_what_its_weights_mean(sources, monkeypatch, capsys):
    call(monkeypatch, capsys, "export", sources, "--to", "trl", "--weights", "average")
    header = (sources / "export" / "trl.yaml").read_text(encoding="utf-8").splitlines()[:2]
    assert re.fullmatch(
        r"# Written by dids [\d.]+: the shares of everything .* /.*run\.", header[0]
    )
    assert header[1].startswith("# Weights are shares of records: fractions are shares")


def test_a_domain_without_weight_is_left_out_and_named(tmp_path, monkeypatch, capsys):
    run = small_run(tmp_path, rounds=((0, 0, (0.6, 0.0, 0.4)),))
    said = call(monkeypatch, capsys, "export", run, "--to", "ms-swift")
    assert "no weight or no record: colours." in said
    value = yaml.safe_load((run / "export" / "ms-swift.yaml").read_text(encoding="utf-8"))
    assert len(value["dataset"]) == 2
    assert sum(value["interleave_prob"]) == pytest.approx(1.0)


def test_a_schedule_has_the_runs_own_steps_where_samples_became_longer(
    tmp_path, monkeypatch, capsys
):
    rounds = ((0, 0, (0.5, 0.3, 0.2)), (13, 1000, (0.2, 0.3, 0.5)), (35, 3000, (0.1, 0.2, 0.7)))
    run = small_run(tmp_path, rounds=rounds)
    out = run / "export" / "weights.json"
    call(monkeypatch, capsys, "export", run, "--to", "json", "--weights", "schedule")
    schedule = json.loads(out.read_text("utf-8"))["schedule"]
    assert [(s["step"], s["tokens"]) for s in schedule] == [(0, 0), (13, 1000), (35, 3000)]


def test_the_schedule_keeps_the_runs_steps_or_is_stretched(tmp_path, monkeypatch, capsys):
    run = small_run(tmp_path)
    out = run / "export" / "weights.json"
    call(monkeypatch, capsys, "export", run, "--to", "json", "--weights", "schedule")
    assert [s["step"] for s in json.loads(out.read_text("utf-8"))["schedule"]] == [0, 10, 30]
    call(
        monkeypatch, capsys,
        "export", run, "--to", "json", "--weights", "schedule", "--steps", "4000",
    )  # fmt: skip
    schedule = json.loads(out.read_text("utf-8"))["schedule"]
    assert [(s["step"], s["tokens"]) for s in schedule] == [
        (0, 0), (1000, 100_000), (3000, 300_000),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "gpt-neox"), "'gpt-neox' is no target; the targets are llamafactory"),
        (("--to", "axolotl", "--weights", "schedule"), "one mixture for a whole training"),
        (("--to", "jsonl", "--weights", "average"), "writes records and no weights"),
        (("--to", "trl", "--column", "d"), "--column goes with --to jsonl or parquet"),
        (("--to", "jsonl", "--column", "prompt"), "line 1: the record has a field 'prompt'"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(sources, monkeypatch, capsys, arguments, said):
    before = sorted(sources.rglob("*"))
    assert said in refused(monkeypatch, capsys, "export", sources, *arguments)
    after = [path for path in sorted(sources.rglob("*")) if path.name != "export"]
    assert after == [path for path in before if path.name != "export"]


def test_an_unfinished_run_is_refused(sources, monkeypatch, capsys):
    (sources / "result.json").unlink()
    said = refused(monkeypatch, capsys, "export", sources, "--to", "trl")
    assert "is not finished" in said
    assert "there is no run here" in refused(
        monkeypatch, capsys, "export", sources / "tokens", "--to", "trl"
    )


def test_changed_sources_are_refused_and_nothing_is_written(clusters, monkeypatch, capsys):
    file = clusters.parent / "colours.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace("red", "rad"), encoding="utf-8")
    said = refused(monkeypatch, capsys, "export", clusters, "--to", "jsonl")
    assert "'colours' has changed since this run began" in said
    assert not (clusters / "export" / "records").exists()


def test_a_folder_of_something_else_is_not_replaced(clusters, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear", encoding="utf-8")
    said = refused(
        monkeypatch, capsys, "export", clusters, "--to", "jsonl", "--out", tmp_path / "mine"
    )
    assert "the folder holds other files" in said
    assert (tmp_path / "mine" / "thesis.txt").read_text(encoding="utf-8") == "dear"


def test_records_of_another_run_are_not_taken_for_ones_own(tmp_path, monkeypatch, capsys):
    first = small_run(tmp_path)
    call(monkeypatch, capsys, "export", first, "--to", "jsonl", "--out", tmp_path / "out")
    other = small_run(
        tmp_path, run=str(tmp_path / "b"), domains=("sums/0", "sums/1", "rest"), domain_of=halves
    )
    said = refused(monkeypatch, capsys, "export", other, "--to", "trl", "--data", tmp_path / "out")
    assert "holds the records of another run" in said


def test_a_column_without_a_name_is_refused(clusters, monkeypatch, capsys):
    said = refused(monkeypatch, capsys, "export", clusters, "--to", "jsonl", "--column", "")
    assert "--column is empty" in said


def test_parquet_refuses_columns_of_two_types(tmp_path, monkeypatch, capsys):
    run = small_run(tmp_path)
    texts = [{"text": f"a {i}", "n": i if i < 20 else "x"} for i in range(40)]
    write_jsonl(tmp_path / "noise.jsonl", texts)
    run = small_run(tmp_path, run=str(tmp_path / "b"))
    said = refused(monkeypatch, capsys, "export", run, "--to", "parquet")
    assert "do not fit into one table" in said
    assert "--to jsonl" in said


def test_a_file_with_domains_becomes_sources(clusters, tmp_path, monkeypatch, capsys):
    one = tmp_path / "all.parquet"
    call(
        monkeypatch, capsys,
        "export", clusters, "--to", "parquet", "--column", "topic", "--out", one,
    )  # fmt: skip
    printed = call(
        monkeypatch, capsys,
        "import", one, "--from", "parquet", "--column", "topic", "--out", tmp_path / "topics",
    )  # fmt: skip
    found = yaml.safe_load(printed)
    assert found["domains"] == {"number": "sources"}
    priors = {name: source["prior"] for name, source in found["data"]["sources"].items()}
    assert priors == {"sums-0": 30 / 160, "sums-1": 30 / 160, "rest": 100 / 160}
    DataConfig.model_validate(found["data"])  # names that a config takes
    rows = lines_of(tmp_path / "topics" / "sums-1.jsonl")
    assert [row["prompt"] for row in rows] == [
        record["prompt"] for record in lines_of(tmp_path / "sums.jsonl")[1::2]
    ]
    assert "topic" not in rows[0]


def test_a_folder_of_files_becomes_sources(tmp_path, monkeypatch, capsys):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "x y"}] * 30)
    write_jsonl(tmp_path / "b.jsonl", [{"text": "x y"}] * 10)
    found = yaml.safe_load(call(monkeypatch, capsys, "import", tmp_path, "--from", "jsonl"))
    assert found["data"]["sources"]["a"] == {"path": str(tmp_path / "a.jsonl"), "prior": 0.75}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.yaml", "--from", "trl"), "there is no such file"),
        (("x.yaml", "--from", "gpt-neox"), "is no target"),
        (("x.jsonl", "--from", "jsonl"), "is no folder"),
        (("x.jsonl", "--from", "jsonl", "--column", "d"), "both --column"),
        (("x.yaml", "--from", "json"), "nothing has a weight above 0"),
        (("x.yaml", "--from", "json", "--column", "d"), "--column and --out go with"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, said):
    (tmp_path / "x.yaml").write_text("weights: {a: 0, b: 0}\n", encoding="utf-8")
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert said in refused(monkeypatch, capsys, "import", *arguments)


def test_what_is_imported_is_a_part_of_a_config(sources, tmp_path, monkeypatch, capsys):
    from run.tiny_run import tiny_config

    from dids.config import load_config

    call(monkeypatch, capsys, "export", sources, "--to", "axolotl")
    file = sources / "export" / "axolotl.yaml"
    found = yaml.safe_load(call(monkeypatch, capsys, "import", file, "--from", "axolotl"))
    path = tmp_path / "next.yaml"
    path.write_text(yaml.safe_dump({**tiny_config(tmp_path), **found}), encoding="utf-8")
    source = load_config(path).data.sources["colours"]
    assert source.path == (str(tmp_path / "colours.jsonl"),)
    assert source.prior == found["data"]["sources"]["colours"]["prior"] > 0
