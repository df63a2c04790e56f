"""The corpus that lies on every machine: there, split by file, never overlapping."""

import pytest

from dids.data import python_corpus
from dids.data.python_corpus import PARTS, corpus_files, corpus_hash, corpus_texts, split_of
from dids.data.readers import read_records
from dids.data.sources import SourceFiles, content_hash, files_of
from dids.errors import InputError


@pytest.fixture(autouse=True)
def small_library(monkeypatch):
    """Every sixth file of the library and of its neighbours: the whole takes seconds to parse."""
    few = {name: part.files()[::6] for name, part in PARTS.items()}
    for name, part in PARTS.items():
        if name not in ("reference", "tables"):
            few_files = few["code" if name == "docstrings" else name]
            small = type(part)(lambda files=few_files: files, part.texts, part.needs)
            monkeypatch.setitem(PARTS, name, small)


def texts(path):
    return [text for _, text in corpus_texts(path)]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_text_within_bounds(part):
    found = texts(f"python:{part}")
    assert found
    assert all(80 <= len(text) <= python_corpus.MAX_CHARACTERS for text in found)


@pytest.mark.parametrize("part", PARTS)
def test_the_sides_never_overlap_and_make_up_the_whole(part):
    sides = {side: set(texts(f"python:{part}:{side}")) for side in ("train", "validation", "test")}
    assert not sides["train"] & sides["validation"]
    assert not sides["train"] & sides["test"]
    assert not sides["validation"] & sides["test"]
    assert set.union(*sides.values()) == set(texts(f"python:{part}:all"))


@pytest.mark.parametrize("part", ["code", "docstrings"])
def test_a_file_is_on_the_same_side_with_its_code_and_its_docstrings(part):
    for side in ("train", "validation", "test"):
        files = corpus_files(f"python:{part}:{side}")
        assert files == corpus_files(f"python:code:{side}")
        assert {origin.file for origin, _ in corpus_texts(f"python:{part}:{side}")} <= {
            str(file) for file in files
        }


def test_train_is_the_default():
    assert texts("python:tables") == texts("python:tables:train")
    assert corpus_files("python:tables") != corpus_files("python:tables:all")


def test_the_order_is_always_the_same():
    assert list(corpus_texts("python:headers")) == list(corpus_texts("python:headers"))


def test_a_text_that_repeats_is_dropped_from_the_held_out_side(tmp_path, monkeypatch):
    names = [f"{i}.txt" for i in range(40)]
    licence = "Permission is hereby granted, free of charge, to any person. " * 3
    for name in names:
        (tmp_path / name).write_text(licence + (name if int(name[:-4]) % 2 else ""))
    files = [(tmp_path / name, tmp_path) for name in names]
    part = PARTS["licences"]
    monkeypatch.setitem(PARTS, "licences", type(part)(lambda: files, part.texts, part.needs))
    assert {split_of(name) for name in names} == {"train", "validation", "test"}
    assert texts("python:licences:train").count(licence) > 1
    assert licence not in texts("python:licences:validation")
    assert licence not in texts("python:licences:test")


def test_the_split_is_about_eighty_ten_ten():
    sides = [split_of(f"package/module_{i}.py") for i in range(3000)]
    assert abs(sides.count("train") / 3000 - 0.8) < 0.03
    assert abs(sides.count("test") / 3000 - 0.1) < 0.03


def test_code_has_no_docstrings_and_docstrings_no_code():
    code = "\n".join(texts("python:code:all"))
    assert not any(doc in code for doc in texts("python:docstrings:all")[:300])


def test_a_part_that_is_not_there_says_what_would_bring_it(monkeypatch):
    part = PARTS["reference"]
    monkeypatch.setitem(PARTS, "reference", type(part)(list, part.texts, part.needs))
    with pytest.raises(InputError, match=r"'python:reference'.*pydoc_data would bring it"):
        texts("python:reference")


@pytest.mark.parametrize(
    "path", ["python:", "python:cod", "python:code:dev", "python:code:train:x"]
)
def test_a_name_of_another_form_is_refused(path):
    with pytest.raises(InputError, match=r"python:PART\[:SPLIT\].*code, docstrings"):
        corpus_files(path)


def test_a_part_is_read_like_any_source():
    source = SourceFiles("ref", ("python:reference:test",))
    found = list(read_records(source, purpose="task"))
    assert [r.text for r in found] == texts("python:reference:test")
    assert len(files_of(source)) == 1
    assert content_hash(source) == content_hash(source)
    assert corpus_hash("python:reference:test") != corpus_hash("python:reference:train")
