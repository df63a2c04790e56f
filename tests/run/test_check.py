"""`dids check`: what it finds, what it says, how it ends; and that a run begins with it."""

import json
import sys

import pytest
from tiny_run import tiny_config, write_config, write_jsonl, write_tiny_data

from dids import cli
from dids.atomic import read_json

WORDS = [f"w{number}" for number in range(40)]


def called(capsys, monkeypatch, *arguments):
    """Exit status, output and error lines of the command line."""
    monkeypatch.setattr(sys, "argv", ["dids", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    seen = capsys.readouterr()
    assert "Traceback" not in seen.err
    lines = [line for line in seen.err.splitlines() if line.startswith("dids: ")]
    return stop.value.code, seen.out, lines


def appended(path, *records):
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(record)}\n" for record in records)


def records_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def unique_data(folder):
    """The tiny data, with sources and tasks that have no text in common by chance."""
    write_tiny_data(folder)
    for number, path in enumerate(sorted(folder.glob("*.jsonl"))):
        lines = path.read_text(encoding="utf-8").splitlines()
        mark = f"{chr(ord('a') + number) * 3}"
        unique = []
        for place, line in enumerate(lines):
            record = json.loads(line)
            text = " ".join(f"{mark}{place}x{word}" for word in range(16))
            if "messages" in record:
                record["messages"][0]["content"] = text
            else:
                record["prompt" if "prompt" in record else "text"] = text
            unique.append(record)
        write_jsonl(path, unique)


def leaked(folder, *, num_verbatim=2, num_parts=1):
    """Put test items of sums into the noise: some as they are, of some the first 13 of 16 words."""
    items = records_of(folder / "sums-test.jsonl")
    for item in items[:num_verbatim]:
        appended(folder / "noise.jsonl", {"text": f"Quiz! {item['prompt'].upper()}"})
    for item in items[num_verbatim : num_verbatim + num_parts]:
        part = " ".join(item["prompt"].split()[:13])
        appended(folder / "noise.jsonl", {"text": f"Quiz! {part} and nothing"})


def test_clean_data_is_found_clean(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    data = {**tiny_config(tmp_path)["data"], "sequence_length": 512}
    code, out, errors = called(capsys, monkeypatch, "check", write_config(tmp_path, data=data))
    result = read_json(tmp_path / "run" / "check.json")
    assert (code, errors) == (0, [])
    assert result["leaks"] == result["overlaps"] == result["duplicates"] == []
    assert [w["kind"] for w in result["warnings"] if w["severity"] != "note"] == []
    assert result["verdict"] == "clean"
    assert {name: source["records"] for name, source in result["sources"].items()} == {
        "sums": 60, "colours": 60, "noise": 40,
    }  # fmt: skip
    assert result["tasks"]["sums"]["test"]["items"] == 12
    assert "nothing to mend" in out


def test_leaks_end_with_status_one_and_say_where(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    leaked(tmp_path)
    copy = tmp_path / "copy.json"
    code, out, errors = called(capsys, monkeypatch, "check", write_config(tmp_path), "--json", copy)
    result = read_json(tmp_path / "run" / "check.json")
    assert (code, errors) == (1, [])
    assert read_json(copy) == result
    assert result["verdict"] == "leaks"
    assert [(k["kind"], k["items"], k["of"], k["source"]) for k in result["leaks"]] == [
        ("verbatim", 2, 12, "noise"),
        ("ngrams", 1, 12, "noise"),
    ]
    example = result["leaks"][1]["examples"][0]
    assert example["item"] == {"file": str(tmp_path / "sums-test.jsonl"), "line": 3}
    assert example["record"] == {"file": str(tmp_path / "noise.jsonl"), "line": 43}
    assert example["share"] == pytest.approx(13 / 16)
    warning = result["warnings"][0]
    assert (warning["severity"], warning["kind"], warning["source"]) == ("error", "leak", "noise")
    assert warning["sentence"] in out
    assert warning["sentence"] == (
        "sums: 3 of 12 test items also stand in source noise (2 word for word and 1 in part), so "
        "its test loss will be too good; first: sums-test.jsonl line 1 in noise.jsonl line 41."
    )


@pytest.mark.parametrize(
    ("check", "flags", "code"),
    [
        ({"on_leak": "warn"}, [], 0),
        ({"allowed_leaks": "sums"}, [], 0),
        ({"allowed_leaks": ["sums/test"]}, [], 0),
        ({"allowed_leaks": ["sums/validation", "colours"]}, [], 1),
        ({}, ["--allow-leaks"], 0),
    ],
)
def test_leaks_can_be_allowed(tmp_path, capsys, monkeypatch, check, flags, code):
    unique_data(tmp_path)
    leaked(tmp_path)
    config = write_config(tmp_path, check=check)
    assert called(capsys, monkeypatch, "check", config, *flags)[0] == code
    (warning, *_) = read_json(tmp_path / "run" / "check.json")["warnings"]
    is_allowed = code == 0 and not flags
    assert warning["severity"] == ("warning" if is_allowed else "error")


def test_a_run_stops_at_leaks_and_goes_on_when_they_are_allowed(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    leaked(tmp_path)
    code, _, (error,) = called(capsys, monkeypatch, "features", write_config(tmp_path))
    assert code == 2
    assert "3 of 12 test items also stand in source noise" in error
    assert "check.allowed_leaks: [sums/test]" in error
    assert not (tmp_path / "run" / "tokens").exists()
    # Nothing was built on it, so the folder takes the changed config.
    allowed = write_config(tmp_path, check={"allowed_leaks": "sums"}, domains={"number": "sources"})
    assert called(capsys, monkeypatch, "features", allowed)[0] == 0
    assert read_json(tmp_path / "run" / "stages" / "check.json")["verdict"] == "warnings"


def test_repetitions_are_counted_by_source_with_their_places(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    noise = records_of(tmp_path / "noise.jsonl")
    near = {"text": noise[5]["text"] + " addition"}
    appended(tmp_path / "noise.jsonl", noise[0], noise[1], near)
    called(capsys, monkeypatch, "check", write_config(tmp_path))
    result = read_json(tmp_path / "run" / "check.json")
    assert result["sources"]["noise"]["duplicates"] == {"exact": 2, "near": 1}
    exact, near = result["duplicates"]
    assert (exact["source"], exact["of_source"], exact["kind"]) == ("noise", "noise", "exact")
    lines = [(e["record"]["line"], e["of"]["line"]) for e in exact["examples"]]
    assert lines == [(41, 1), (42, 2)]
    assert [(e["record"]["line"], e["of"]["line"]) for e in near["examples"]] == [(43, 6)]
    assert near["examples"][0]["similarity"] == pytest.approx(12 / 13, abs=0.12)
    (warning,) = [w for w in result["warnings"] if w["kind"] == "duplicates"]
    assert "3 of 43 records (7.0%) repeat earlier ones" in warning["sentence"]
    assert "noise.jsonl line 41 is like noise.jsonl line 1" in warning["sentence"]


def test_list_names_every_record_to_remove(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    leaked(tmp_path)
    noise = records_of(tmp_path / "noise.jsonl")
    appended(tmp_path / "noise.jsonl", noise[40], noise[3])
    path = tmp_path / "remove.jsonl"
    config = write_config(tmp_path)
    called(capsys, monkeypatch, "check", config, "--list", path)
    assert {(r["line"], r["why"], r.get("task")) for r in records_of(path)} == {
        (41, "leak", "sums"), (42, "leak", "sums"), (43, "leak", "sums"), (44, "leak", "sums"),
        (44, "repeats", None), (45, "repeats", None),
    }  # fmt: skip
    assert {r["file"] for r in records_of(path)} == {str(tmp_path / "noise.jsonl")}
    removed = {record["line"] for record in records_of(path)}
    kept = [record for line, record in enumerate(records_of(tmp_path / "noise.jsonl"), 1)
            if line not in removed]  # fmt: skip
    write_jsonl(tmp_path / "noise.jsonl", kept)
    assert called(capsys, monkeypatch, "check", config)[0] == 0


def test_near_duplicates_can_be_left_out(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    noise = records_of(tmp_path / "noise.jsonl")
    appended(tmp_path / "noise.jsonl", {"text": noise[5]["text"] + " addition"}, noise[7])
    config = write_config(tmp_path, check={"near_duplicates": False})
    called(capsys, monkeypatch, "check", config)
    result = read_json(tmp_path / "run" / "check.json")
    assert result["sources"]["noise"]["duplicates"] == {"exact": 1, "near": None}


def test_bad_records_are_all_counted_before_the_first_ends_it(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    appended(tmp_path / "noise.jsonl", {"text": ""}, {"txt": "a"}, {"text": "?! ..."})
    code, _, (error,) = called(capsys, monkeypatch, "check", write_config(tmp_path))
    assert code == 2
    assert "noise.jsonl, line 41: field 'text' is empty" in error
    assert "(1 more cannot be used)" in error
    assert read_json(tmp_path / "run" / "check.json")["verdict"] == "errors"
    result = read_json(tmp_path / "run" / "check.json")
    assert result["sources"]["noise"]["bad"]["count"] == 2
    assert [e["line"] for e in result["sources"]["noise"]["bad"]["examples"]] == [41, 42]
    assert result["sources"]["noise"]["wordless"] == {
        "count": 1, "examples": [{"file": str(tmp_path / "noise.jsonl"), "line": 43}],
    }  # fmt: skip
    severities = {w["kind"]: w["severity"] for w in result["warnings"]}
    assert (severities["bad_records"], severities["wordless"]) == ("error", "warning")
    data = {**tiny_config(tmp_path)["data"], "on_bad_record": "skip"}
    assert called(capsys, monkeypatch, "check", write_config(tmp_path, data=data))[0] == 0


def test_cut_records_and_epochs_are_counted_and_said(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    data = {**tiny_config(tmp_path)["data"], "sequence_length": 8}
    data["sources"]["noise"] = {"path": data["sources"]["noise"], "max_repeats": 0}
    config = write_config(tmp_path, data=data, budget={"tokens": 40_000})
    called(capsys, monkeypatch, "check", config)
    result = read_json(tmp_path / "run" / "check.json")
    assert result["sources"]["sums"]["truncated"]["share"] == 1.0
    assert result["sources"]["sums"]["truncated"]["examples"][0]["line"] == 1
    assert result["sources"]["noise"]["truncated"]["count"] == 0  # texts are divided, not cut
    assert result["sources"]["sums"]["epochs"] > 16
    assert result["sources"]["noise"]["epochs"] == pytest.approx(1.0)
    assert result["sources"]["noise"]["used_up_at_step"] > 0
    kinds = {(w["kind"], w["source"]): w["severity"] for w in result["warnings"]}
    assert kinds["truncated", "sums"] == kinds["epochs", "sums"] == "warning"
    assert kinds["used_up", "noise"] == "note"


def test_a_task_with_few_validation_items_is_named(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    path = tmp_path / "sums-validation.jsonl"
    line = json.loads(path.read_text("utf-8").splitlines()[0])
    write_jsonl(path, [{**line, "prompt": f"{line['prompt']} {number}"} for number in range(32)])
    called(capsys, monkeypatch, "check", write_config(tmp_path))
    warnings = read_json(tmp_path / "run" / "check.json")["warnings"]
    few = [warning for warning in warnings if warning["kind"] == "few_items"]
    assert [(each["task"], each["severity"]) for each in few] == [("colours", "note")]
    assert few[0]["sentence"].startswith("colours (validation): 8 items, so that its loss")


def test_test_items_that_the_run_follows_are_named(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    validation, test = (
        [json.loads(line) for line in (tmp_path / f"sums-{split}.jsonl").read_text().splitlines()]
        for split in ("validation", "test")
    )
    shouted = {**validation[3], "prompt": f"{validation[3]['prompt'].upper()}!"}
    write_jsonl(tmp_path / "sums-test.jsonl", [*test, validation[0], shouted])
    called(capsys, monkeypatch, "check", write_config(tmp_path))
    result = read_json(tmp_path / "run" / "check.json")
    followed = result["tasks"]["sums"]["test"]["in_validation"]
    assert followed["count"] == 2
    assert [each["line"] for each in followed["examples"]] == [13, 14]
    assert result["tasks"]["colours"]["test"]["in_validation"]["count"] == 0
    (found,) = [each for each in result["warnings"] if each["kind"] == "in_validation"]
    assert (found["task"], found["split"], found["severity"]) == ("sums", "test", "warning")
    assert "2 of 14 test items also stand in a validation set" in found["sentence"]
    assert "sums-test.jsonl line 13" in found["sentence"]
    assert "leave tasks.sums.test out" in found["advice"]


def test_halves_of_one_file_have_no_item_in_common(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    config = write_config(tmp_path, tasks={"sums": str(tmp_path / "sums-validation.jsonl")})
    called(capsys, monkeypatch, "check", config)
    result = read_json(tmp_path / "run" / "check.json")
    assert result["tasks"]["sums"]["test"]["in_validation"]["count"] == 0
    same = {name: str(tmp_path / "sums-validation.jsonl") for name in ("validation", "test")}
    called(capsys, monkeypatch, "check", write_config(tmp_path, tasks={"sums": same}))
    result = read_json(tmp_path / "run" / "check.json")
    assert result["tasks"]["sums"]["test"]["in_validation"]["count"] == 12


def test_tokens_are_the_runs_own_once_they_are_counted(tmp_path, capsys, monkeypatch):
    unique_data(tmp_path)
    config = write_config(tmp_path, domains={"number": "sources"})
    called(capsys, monkeypatch, "check", config)
    estimated = read_json(tmp_path / "run" / "check.json")["sources"]
    called(capsys, monkeypatch, "features", config)
    called(capsys, monkeypatch, "check", config)
    counted = read_json(tmp_path / "run" / "check.json")["sources"]
    for name, source in counted.items():
        assert source["is_exact"]
        assert source["tokens"] == pytest.approx(estimated[name]["tokens"], rel=0.3)


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"on_leaks": "warn"}, "did you mean 'on_leak'"),
        ({"allowed_leaks": ["sum"]}, "there is no task 'sum'"),
        ({"allowed_leaks": ["sums/train"]}, "/validation or /test"),
        ({"ngram_words": 2}, "check.ngram_words"),
        ({"containment": 0}, "check.containment"),
        ({"similarity": 1.2}, "check.similarity"),
    ],
)
def test_bad_settings_are_one_sentence(tmp_path, capsys, monkeypatch, check, expected):
    code, _, (error,) = called(capsys, monkeypatch, "check", write_config(tmp_path, check=check))
    assert code == 2
    assert expected in error
    assert not (tmp_path / "run").exists()


def test_json_into_no_folder_is_refused_before_anything_is_read(tmp_path, capsys, monkeypatch):
    code, _, (error,) = called(
        capsys, monkeypatch, "check", write_config(tmp_path), "--json", tmp_path / "no" / "a.json"
    )
    assert code == 2
    assert "there is no such folder to write a.json to" in error
    assert not (tmp_path / "run").exists()
