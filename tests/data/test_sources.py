"""Which files a source means, and what changes its hash."""

import json
import os

import pytest

from dids.data.hub import hub_name
from dids.data.readers import read_records
from dids.data.sources import SourceFiles, content_hash, files_of
from dids.errors import InputError


def source(*paths, **settings):
    return SourceFiles("src", tuple(str(path) for path in paths), **settings)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"text": name}) + "\n")
    return tmp_path


def names(files):
    return [file.name for file in files]


def test_files_globs_and_folders_are_expanded_in_sorted_order(folder):
    assert names(files_of(source(folder))) == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert names(files_of(source(folder / "*.jsonl"))) == ["a.jsonl", "b.jsonl"]
    assert names(files_of(source(folder / "**" / "*.jsonl"))) == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert names(files_of(source(folder / "b.jsonl", folder))) == ["b.jsonl", "a.jsonl", "c.jsonl"]


def test_a_file_with_brackets_in_its_name_is_no_glob(folder):
    (folder / "a[1].jsonl").write_text("{}")
    assert names(files_of(source(folder / "a[1].jsonl"))) == ["a[1].jsonl"]


def test_paths_that_name_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"'src': there is no file"):
        files_of(source(tmp_path / "none"))
    with pytest.raises(InputError, match=r"'src': no file matches"):
        files_of(source(tmp_path / "*.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"'src': the folder .*empty has no file"):
        files_of(source(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"'src' names no path"):
        files_of(source())
    with pytest.raises(InputError, match=r"'src' names no path"):
        content_hash(source())


def test_the_hash_follows_content_names_and_format_but_not_the_folder(folder, tmp_path_factory):
    first = content_hash(source(folder))
    assert content_hash(source(folder)) == first
    copy = tmp_path_factory.mktemp("copy")
    for file in folder.rglob("*.jsonl"):
        (copy / file.name).write_bytes(file.read_bytes())
    assert content_hash(source(copy)) == first
    assert content_hash(source(folder, format="text")) != first
    (folder / "a.jsonl").write_text('{"text": "changed"}\n')
    assert content_hash(source(folder)) != first


def test_a_file_whose_name_is_not_utf8_is_named(folder):
    try:
        (folder / os.fsdecode(b"caf\xe9.txt")).write_text("coffee")
    except OSError:
        pytest.skip("this file system takes no such name")
    for path in (folder, folder / "*"):
        for look in (files_of, content_hash):
            with pytest.raises(InputError, match=r"'src': .*caf\\xe9\.txt' is not UTF-8; rename"):
                look(source(path))


def test_moving_a_byte_from_one_file_to_the_next_changes_the_hash(tmp_path):
    (tmp_path / "a.txt").write_text("12")
    (tmp_path / "b.txt").write_text("3")
    first = content_hash(source(tmp_path))
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "b.txt").write_text("23")
    assert content_hash(source(tmp_path)) != first


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("hf:imdb", ("imdb", None, "train")),
        ("hf:imdb:test", ("imdb", None, "test")),
        ("hf:imdb:train[:10%]", ("imdb", None, "train[:10%]")),
        ("hf:openai/gsm8k:main", ("openai/gsm8k", "main", "train")),
        ("hf:openai/gsm8k:main:test[5:9]", ("openai/gsm8k", "main", "test[5:9]")),
        ("hf:a/b::odd", ("a/b", None, "odd")),
    ],
)
def test_a_hub_path_has_name_configuration_and_split(path, expected):
    assert hub_name(path) == expected


@pytest.mark.parametrize("path", ["hf:", "hf:a:b:c:d", "hf:a:b[1"])
def test_a_hub_path_of_another_form_is_refused(path):
    with pytest.raises(InputError, match=r"hf:NAME"):
        hub_name(path)


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def test_a_hub_data_set_is_read_through_datasets(tmp_path, offline_hub):
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [{"prompt": f"{i}?", "completion": f"{i}!"} for i in range(5)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    hub = source(f"hf:{folder}")
    found = list(read_records(hub))
    assert [(r.prompt, r.completion) for r in found] == [(f"{i}?", f"{i}!") for i in range(5)]
    assert found[3].origin.line == 4
    assert files_of(hub) == []
    assert content_hash(hub) != content_hash(source(f"hf:{folder}:train[:2]"))


def test_images_of_a_hub_data_set_are_not_looked_at(tmp_path, offline_hub):
    datasets = pytest.importorskip("datasets")
    broken = [{"bytes": bytes([number]), "path": None} for number in range(3)]
    rows = datasets.Dataset.from_dict(
        {"image": broken, "text": ["one", "two", "three"], "id": [7, 8, 9]},
        features=datasets.Features(
            image=datasets.Image(), text=datasets.Value("string"), id=datasets.Value("int64")
        ),
    )
    (tmp_path / "set").mkdir()
    rows.to_parquet(tmp_path / "set" / "train.parquet")
    hub = source(f"hf:{tmp_path / 'set'}")
    assert [record.text for record in read_records(hub)] == ["one", "two", "three"]
    assert content_hash(hub) == content_hash(hub)
    changed = rows.remove_columns("id").add_column("id", [7, 8, 10])
    (tmp_path / "other").mkdir()
    changed.to_parquet(tmp_path / "other" / "train.parquet")
    other = source(f"hf:{tmp_path / 'other'}")
    assert content_hash(other) != content_hash(hub)


def test_a_hub_data_set_without_known_columns_is_said_to_have_none(tmp_path, offline_hub):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"question": "2+2?", "texts": "4"}\n')
    with pytest.raises(InputError, match=r"only 'question', 'texts'; did you mean 'text'"):
        list(read_records(source(f"hf:{tmp_path / 'set'}")))


def test_a_hub_data_set_that_is_not_there_is_named(tmp_path, offline_hub):
    with pytest.raises(InputError, match=r"'hf:.*nothing.*' cannot be loaded"):
        list(read_records(source(f"hf:{tmp_path}/nothing")))


def test_halves_are_disjoint_and_together_all_and_copies_stay_together(tmp_path):
    path = tmp_path / "items.jsonl"
    words = [f"item {number % 70}" for number in range(200)]  # every item two or three times
    path.write_text("".join(f"{json.dumps({'text': text})}\n" for text in words))
    texts = {
        half: [record.text for record in read_records(source(path, half=half))]
        for half in ("first", "second", None)
    }
    assert texts[None] == words
    assert sorted(texts["first"] + texts["second"]) == sorted(words)
    assert not set(texts["first"]) & set(texts["second"])
    assert 20 < len(set(texts["first"])) < 50
    # Another order, and another file, changes nobody's half.
    path.write_text("".join(f"{json.dumps({'text': text})}\n" for text in reversed(words)))
    again = [record.text for record in read_records(source(path, half="first"))]
    assert again == texts["first"][::-1]


def test_halves_of_a_prompt_go_by_its_completion_too(tmp_path):
    path = tmp_path / "items.jsonl"
    items = [{"prompt": "Write a word:", "completion": f" w{number}"} for number in range(40)]
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    sizes = [len(list(read_records(source(path, half=half)))) for half in ("first", "second")]
    assert sum(sizes) == 40
    assert min(sizes) > 10


def test_each_half_has_a_hash_of_its_own(folder):
    hashes = {content_hash(source(folder, half=half)) for half in ("first", "second", None)}
    assert len(hashes) == 3


def test_a_bad_record_of_two_halves_is_noted_once(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('{"text": 3}\n' + "".join(f'{{"text": "{number}"}}\n' for number in range(30)))
    bad = []
    for half in ("first", "second"):
        list(read_records(source(path, half=half), on_bad_record="skip", bad_records=bad))
    assert [each.line for each in bad] == [1]
    for half in ("first", "second"):
        with pytest.raises(InputError, match="line 1"):
            list(read_records(source(path, half=half)))


def test_an_empty_half_says_what_would_be_right(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('{"text": "one"}\n')
    with pytest.raises(InputError) as error:
        list(read_records(source(path, half="second", title="Task 'a' (test)")))
    said = str(error.value)
    assert said.startswith(
        f"Task 'a' (test) ({path}): of two halves the second has no usable record"
    )
    assert said.endswith("give more records, or a test of its own.")
