"""A source tokenised in parts is, to the byte, the source tokenised in one pass."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_tokenizers import make_tokenizer

from dids.data import token_parts
from dids.data.sources import SourceFiles
from dids.data.token_parts import PlannedStore, Tokenising, join_parts
from dids.data.token_store import TokenStore
from dids.errors import InputError


@pytest.fixture
def tokenising(tmp_path):
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return Tokenising(str(tmp_path / "tokenizer"), False, 8, "chat", "skip")


def written(tokenising, planned):
    """The store written part by part, the last part first."""
    write, done = tokenising.opened(), []
    parts = planned.parts()
    for part in reversed(parts):
        write(part, done.append)
    if len(parts) > 1:
        join_parts(planned, parts)
    return {path.name: path.read_bytes() for path in planned.folder.iterdir()}, sum(done)


def jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def mixed_source(folder):
    """Files of all kinds; an empty one, one of bad records only, and one that is named twice."""
    first = jsonl(folder / "a.jsonl", ["the cat sat on the mat " * i for i in range(1, 9)])
    (folder / "b.jsonl").write_text("")
    (folder / "c.jsonl").write_text('{"text": 7}\n{nonsense\n')
    (folder / "d.txt").write_text("a plain text of some words " * 6)
    pq.write_table(
        pa.table({"prompt": ["Q?", "R?"], "completion": ["A!", "B!"]}), folder / "e.parquet"
    )
    last = jsonl(folder / "f.jsonl", ["x", "yes and no"])
    return SourceFiles("src", (last, str(folder / "?.*"), first))


@pytest.mark.parametrize("part_bytes", [1, 150, 400])
def test_parts_make_the_same_bytes_as_one_pass(tmp_path, monkeypatch, tokenising, part_bytes):
    (tmp_path / "data").mkdir()
    source = mixed_source(tmp_path / "data")
    whole, num_whole = written(tokenising, PlannedStore(source, "train", tmp_path / "a", "k"))
    monkeypatch.setattr(token_parts, "PART_BYTES", part_bytes)
    monkeypatch.setattr(token_parts, "_ENTRIES_PER_COPY", 3)
    planned = PlannedStore(source, "train", tmp_path / "b", "k")
    assert len(planned.parts()) > 1
    joined, num_joined = written(tokenising, planned)
    assert joined == whole
    assert num_joined == num_whole > 10
    assert len(TokenStore(tmp_path / "b").bad_records) == 2


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12), part_bytes=st.integers(1, 60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parts_hold_every_file_once_in_order_within_the_size(
    tmp_path_factory, monkeypatch, sizes, part_bytes
):
    folder = tmp_path_factory.mktemp("files")
    for number, size in enumerate(sizes):
        (folder / f"{number:02d}.txt").write_bytes(b"x" * size)
    monkeypatch.setattr(token_parts, "PART_BYTES", part_bytes)
    planned = PlannedStore(SourceFiles("s", (str(folder),)), "train", folder / "out", "k")
    parts = planned.parts()
    if len(parts) == 1:
        assert parts == [planned]
        assert sum(sizes) <= part_bytes or len(sizes) == 1
        return
    paths = [path for part in parts for path in part.source.paths]
    assert paths == [str(folder / f"{number:02d}.txt") for number in range(len(sizes))]
    for part in parts:
        size = sum(sizes[paths.index(path)] for path in part.source.paths)
        assert size <= part_bytes or len(part.source.paths) == 1
    assert len({part.key for part in parts}) == len(parts)
    assert len({part.folder for part in parts}) == len(parts)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_part_is_named_and_not_joined(tmp_path, monkeypatch, tokenising, damage):
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(token_parts, "PART_BYTES", 200)
    planned = PlannedStore(mixed_source(tmp_path / "data"), "train", tmp_path / "b", "k")
    write, parts = tokenising.opened(), planned.parts()
    for part in parts:
        write(part, lambda _: None)
    path = parts[1].folder / "tokens.npy"
    octets = bytearray(path.read_bytes())
    if damage == "flip":
        octets[-1] ^= 1
        path.write_bytes(octets)
    elif damage == "truncate":
        path.write_bytes(octets[:-3])
    else:
        path.unlink()
    with pytest.raises(InputError, match="missing or damaged") as refusal:
        join_parts(planned, parts)
    assert str(parts[1].folder) in str(refusal.value)
    assert not planned.folder.exists()


def test_a_source_of_nothing_is_refused_though_its_parts_may_be_empty(
    tmp_path, monkeypatch, tokenising
):
    monkeypatch.setattr(token_parts, "PART_BYTES", 1)
    source = SourceFiles("src", (jsonl(tmp_path / "a.jsonl", []), jsonl(tmp_path / "b.jsonl", [])))
    (tmp_path / "b.jsonl").write_text("[]\n")
    with pytest.raises(InputError, match=r"no usable record; the first bad one: .*b.jsonl, line 1"):
        written(tokenising, PlannedStore(source, "train", tmp_path / "out", "k"))
    tokenizer = make_tokenizer(eos_token=None)
    tokenizer.save_pretrained(tmp_path / "endless")
    tokenising = replace(tokenising, tokenizer=str(tmp_path / "endless"))
    source = SourceFiles(
        "src", (jsonl(tmp_path / "a.jsonl", ["x"]), jsonl(tmp_path / "b.jsonl", ["y"]))
    )
    with pytest.raises(InputError, match="none of its 2 records has two tokens"):
        written(tokenising, PlannedStore(source, "train", tmp_path / "out", "k"))
    assert not (tmp_path / "out").exists()
