"""The corpus with planted faults is what it says, and the check finds them."""

import json
import sys

import pytest

from benchmarks.guard import planted as module
from benchmarks.guard.planted import KEPT_WORDS, NUM_LEAKED, planted_corpus
from dids import cli
from dids.atomic import read_json

NUM_RECORDS = 30_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return planted_corpus(tmp_path_factory.mktemp("planted"), NUM_RECORDS, near_duplicates=True)


def lines(corpus, name):
    path = corpus.config.parent / f"{name}.jsonl"
    return [json.loads(line)["text"].split() for line in path.read_text().splitlines()]


def test_every_source_has_its_records_and_faults(corpus):
    texts = {name: lines(corpus, name) for name in corpus.size_by_source}
    assert {name: len(some) for name, some in texts.items()} == corpus.size_by_source
    assert sum(corpus.size_by_source.values()) == NUM_RECORDS
    web = set(map(tuple, texts["web"]))
    assert len(web) == len(texts["web"])
    assert all(tuple(text) in web for text in texts["again"])
    assert all(tuple(text[:-1]) in web and tuple(text) not in web for text in texts["copies"])
    assert not any(tuple(text) in web for text in texts["decoys"])


def test_planted_faults_are_found_and_nothing_else(corpus, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dids", "check", str(corpus.config)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    result = read_json(corpus.config.parent / "run" / "check.json")
    size, sources = corpus.size_by_source, result["sources"]
    duplicates = {name: source["duplicates"] for name, source in sources.items()}
    assert duplicates["again"] == {"exact": size["again"], "near": 0}
    assert duplicates["copies"]["exact"] == 0
    assert duplicates["copies"]["near"] >= 0.995 * size["copies"]
    # A decoy's similarity is 0.75 at most: the estimate's error lets few of the longest through.
    assert duplicates["decoys"]["near"] <= 0.02 * size["decoys"]
    assert duplicates["web"] == duplicates["leaky"] == {"exact": 0, "near": 0}
    found = {leak["kind"]: leak["items"] for leak in result["leaks"]}
    assert found == {"verbatim": NUM_LEAKED, "ngrams": NUM_LEAKED}
    assert [overlap["items"] for overlap in result["overlaps"]] == [NUM_LEAKED]
    assert len(KEPT_WORDS) * NUM_LEAKED <= size["leaky"]


def test_corpus_is_written_once(corpus, monkeypatch):
    monkeypatch.setattr(module, "_write", None)
    assert planted_corpus(corpus.config.parent, NUM_RECORDS, near_duplicates=True) == corpus
