"""A check that is stopped goes on where it was, and never takes an old scan for a new one."""

import json

import pytest
from words_tokenizer import words_tokenizer

from dids.check import scan as module
from dids.check.leaks import LeakGuard
from dids.check.scan import ScanSettings, scanned_source
from dids.data.records import Origin, Record
from dids.data.sources import SourceFiles
from dids.errors import InputError


@pytest.fixture(scope="module")
def tokenizer():
    return words_tokenizer()


@pytest.fixture
def scan(tmp_path, tokenizer):
    settings = ScanSettings(tokenizer, 64, "chat", containment=0.5, near_duplicates=True, seed=0)
    guard = LeakGuard()
    item = Record(Origin("test.jsonl", 1), prompt="Who was it that came in late?", completion="I")
    guard.add(("quiz", "test"), [item])
    seen = []

    def scanned(key="k", path=tmp_path / "web.jsonl", progress=seen.append):
        source = SourceFiles("web", (str(path),))
        return scanned_source(source, tmp_path / "scan", key, guard, settings, progress)

    scanned.seen = seen
    return scanned


def written(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


LINES = [
    {"text": "Who was it that came in late?"},
    {"text": "..."},
    {"nothing": 1},
    *({"text": f"some text of number {n}"} for n in range(10)),
]


def test_scan_says_what_stands_where(tmp_path, scan):
    written(tmp_path / "web.jsonl", LINES)
    found = scan()
    assert (found.records, found.bad.count, found.wordless.count) == (12, 1, 1)
    assert found.bad.examples[0].line == 3
    assert found.wordless.examples[0].line == 2
    assert [(hit.kind, hit.record.line) for hit in found.hits] == [("verbatim", 1)]
    assert list(found.leaking()) == [(found.hits[0].record, 0)]
    assert found.words == 7 + 10 * 5
    assert found.sketches.origin(2).line == 4
    assert found.size.is_exact
    assert sum(scan.seen) == 12


def test_a_whole_scan_is_not_made_again(tmp_path, scan):
    written(tmp_path / "web.jsonl", LINES)
    first = scan()
    again = scan()
    assert sum(scan.seen) == 12
    for name in ("records", "characters", "words", "size", "bad", "wordless", "hits"):
        assert getattr(first, name) == getattr(again, name)


def test_another_key_or_a_damaged_file_is_read_again(tmp_path, scan):
    written(tmp_path / "web.jsonl", LINES)
    scan()
    scan("other")
    assert sum(scan.seen) == 24
    path = tmp_path / "scan" / "signatures.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    scan("other")
    assert sum(scan.seen) == 36


def test_a_scan_that_is_stopped_leaves_nothing(tmp_path, scan, monkeypatch):
    written(tmp_path / "web.jsonl", LINES)
    monkeypatch.setattr(module, "_RECORDS_A_BATCH", 5)

    def stop(amount):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["web.jsonl"]
    assert scan().records == 12


def test_batches_change_nothing(tmp_path, scan, monkeypatch):
    written(tmp_path / "web.jsonl", LINES)
    first = scan()
    monkeypatch.setattr(module, "_RECORDS_A_BATCH", 3)
    second = scan("other")
    assert (first.hits, first.words, first.size) == (second.hits, second.words, second.size)
    assert first.sketches.wholes(0, 12).tolist() == second.sketches.wholes(0, 12).tolist()


def test_a_source_without_a_usable_record_is_refused(tmp_path, scan):
    written(tmp_path / "web.jsonl", [{"nothing": 1}])
    with pytest.raises(InputError, match=r"'web' .* has no usable record"):
        scan()
    assert [path.name for path in tmp_path.iterdir()] == ["web.jsonl"]
