"""Repetitions are found wherever they stand, each once, and little else is taken for one."""

import random

import numpy as np
import pytest

from dids.check import duplicates as module
from dids.check.duplicates import find_duplicates
from dids.check.sketches import Sketches, SketchWriter, signatures, similarity
from dids.check.words import WordBatch
from dids.data.records import Origin
from dids.errors import InputError


def sketched(folder, name, texts, files=1):
    """The sketches of a source whose records are these texts, one a line."""
    folder = folder / name
    folder.mkdir()
    writer = SketchWriter(folder)
    per_file = -(-len(texts) // files)
    origins = [Origin(f"{name}-{i // per_file}", i % per_file + 1) for i in range(len(texts))]
    for first in range(0, len(texts), 100):
        part = slice(first, first + 100)
        writer.append(origins[part], WordBatch.of(texts[part]), with_signatures=True)
    return Sketches(folder, name, len(texts), writer.finish()["files"])


def found(tmp_path, sources, **settings):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sketches = [sketched(tmp_path, name, texts) for name, texts in sources.items()]
    result = find_duplicates(sketches, scratch, **settings)
    assert list(scratch.iterdir()) == []
    repeating = list(result.records)
    assert len(repeating) == len(set(repeating)) == sum(some.records for some in result.by_source)
    return {(some.source, some.of_source, some.kind): some for some in result.by_source}


def counts(result):
    return {key: some.records for key, some in result.items()}


def words(number, size=60):
    return [f"w{number}x{place}" for place in range(size)]


def texts(numbers, size=60):
    return [" ".join(words(number, size)) for number in numbers]


def jaccard(one, other, size=5):
    a, b = ({tuple(t[i : i + size]) for i in range(len(t) - size + 1)} for t in (one, other))
    return len(a & b) / len(a | b)


def test_equal_texts_are_found_within_and_across_sources_in_any_dress(tmp_path):
    result = found(
        tmp_path,
        {
            "web": [*texts(range(5)), " ".join(words(2)).upper(), "short"],
            "books": [f"{' '.join(words(3))}!", *texts([7, 8]), "Short.", "?", "?"],
        },
    )
    assert counts(result) == {("web", "web", "exact"): 1, ("books", "web", "exact"): 2}
    (pair,) = result["web", "web", "exact"].examples
    assert (pair.record, pair.of) == (Origin("web-0", 6), Origin("web-0", 3))
    lines = [(p.record.line, p.of.line) for p in result["books", "web", "exact"].examples]
    assert lines == [(1, 4), (4, 7)]


def test_a_text_that_stands_there_often_repeats_one_less_time(tmp_path):
    result = found(tmp_path, {"web": texts([1, 1, 1, 1, 2])})
    assert counts(result) == {("web", "web", "exact"): 3}
    assert [pair.of.line for pair in result["web", "web", "exact"].examples] == [1, 1, 1]


def test_near_duplicates_have_their_similarity_and_count_once(tmp_path):
    original = words(0, 100)
    longer = [*original, "more", "words", "here"]
    result = found(tmp_path, {"web": [" ".join(original), *texts([4])], "copy": [" ".join(longer)]})
    assert counts(result) == {("copy", "web", "near"): 1}
    (pair,) = result["copy", "web", "near"].examples
    assert pair.similarity == pytest.approx(jaccard(original, longer), abs=0.1)
    assert pair.of == Origin("web-0", 1)


def test_every_repetition_is_listed(tmp_path):
    sketches = [
        sketched(tmp_path, "web", texts([1, 2, 1, 3, 3]), files=2),
        sketched(tmp_path, "books", texts([4, 2])),
    ]
    (tmp_path / "scratch").mkdir()
    listed = find_duplicates(sketches, tmp_path / "scratch").records
    assert list(listed) == [Origin("web-0", 3), Origin("web-1", 2), Origin("books-0", 2)]


def test_without_a_similarity_only_equal_texts_count(tmp_path):
    near = [" ".join(words(0, 100)), " ".join([*words(0, 100), "more"])]
    assert counts(found(tmp_path, {"web": [*near, near[0]]}, min_similarity=None)) == {
        ("web", "web", "exact"): 1
    }


def changed_near(number, size, num_changes, generator):
    """A text and another with some words in a row replaced at some places."""
    original = words(number, size)
    changed = list(original)
    for place in generator.sample(range(size), num_changes):
        changed[place] = f"other{number}x{place}"
    return original, changed


def test_recall_and_precision_on_planted_pairs(tmp_path):
    generator = random.Random(0)
    # No word changed (equal), one (similarity 0.89 or more), five (0.61 to 0.77).
    pairs = [changed_near(n, 100, (0, 1, 5)[n % 3], generator) for n in range(1200)]
    clean = texts(range(2000, 5000), 40)
    result = found(
        tmp_path,
        {
            "web": [" ".join(pair[0]) for pair in pairs] + clean,
            "b": [" ".join(pair[1]) for pair in pairs],
        },
    )
    truth = np.array([jaccard(*pair) for pair in pairs])
    assert result["b", "web", "exact"].records == (truth == 1).sum() == 400
    alike, unlike = ((truth >= 0.89) & (truth < 1)).sum(), (truth < 0.77).sum()
    assert alike == unlike == 400
    near = result["b", "web", "near"].records
    assert 0.99 * alike <= near <= alike + 0.02 * unlike
    assert ("web", "web", "near") not in result
    assert ("web", "web", "exact") not in result


def test_clean_texts_of_one_vocabulary_are_no_duplicates(tmp_path):
    generator = random.Random(1)
    vocabulary = [f"word{number}" for number in range(200)]
    lines = [" ".join(generator.choices(vocabulary, k=30)) for _ in range(5000)]
    assert counts(found(tmp_path, {"web": lines})) == {}


def test_parts_and_blocks_change_nothing(tmp_path, monkeypatch):
    generator = random.Random(2)
    pairs = [changed_near(n, 80, n % 3, generator) for n in range(200)]
    sources = {
        "a": [" ".join(pair[0]) for pair in pairs] + texts([1, 2, 3], 80),
        "b": [" ".join(pair[1]) for pair in pairs],
    }
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    expected = found(tmp_path / "one", sources)
    for name, size in {"_RECORDS_A_BLOCK": 7, "_RECORDS_A_PART": 50, "_ROWS_AT_ONCE": 3}.items():
        monkeypatch.setattr(module, name, size)
    assert found(tmp_path / "many", sources) == expected


def test_more_records_than_numbers_are_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_RECORDS", 4)
    with pytest.raises(InputError, match=r"5 records, but a check numbers 4 at most"):
        found(tmp_path, {"web": texts(range(3)), "books": texts(range(2))})


def test_a_chance_first_with_the_same_band_does_not_hide_the_others(tmp_path, monkeypatch):
    # The last band is the same in all; of each pair every other band differs in one byte of eight.
    rows = np.random.default_rng(0).integers(0, 256, (3, 128), dtype=np.uint8).repeat(2, axis=0)
    rows[1::2, ::8] += 1
    rows[:, 120:] = 0
    monkeypatch.setattr("dids.check.sketches.signatures", lambda batch: rows)
    result = found(tmp_path, {"web": texts(range(6))})
    assert counts(result) == {("web", "web", "near"): 3}
    assert [pair.of.line for pair in result["web", "web", "near"].examples] == [1, 3, 5]


def test_similarity_estimates_jaccard(tmp_path):
    generator = random.Random(3)
    pairs = [changed_near(n, 120, n % 12, generator) for n in range(300)]
    one, other = (signatures(WordBatch.of([" ".join(p[i]) for p in pairs])) for i in (0, 1))
    error = similarity(one, other) - np.array([jaccard(*pair) for pair in pairs])
    assert abs(error.mean()) < 0.01
    assert np.sqrt((error**2).mean()) < 0.05  # 0.044 is the most that theory allows


def test_signature_of_a_text_does_not_depend_on_its_batch():
    some = [*texts([1, 2], 30), "two words", "", *texts([3], 4)]
    together = signatures(WordBatch.of(some))
    for row, text in zip(together, some, strict=True):
        np.testing.assert_array_equal(row, signatures(WordBatch.of([text]))[0])


def test_origins_are_those_of_the_files(tmp_path):
    source = sketched(tmp_path, "web", texts(range(10)), files=3)
    places = [source.origin(number) for number in range(10)]
    assert [(p.file, p.line) for p in places] == [(f"web-{i // 4}", i % 4 + 1) for i in range(10)]
