"""The benchmark of loaders runs, and what it measures is what it says."""

import itertools

import numpy as np
import pytest

from benchmarks.sampling.__main__ import main
from benchmarks.sampling.corpus import written_corpus
from benchmarks.sampling.measured import independent_distance, own_distance, perfect_distance
from benchmarks.sampling.rows import OWN_ROWS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return written_corpus(tmp_path_factory.mktemp("corpus"), 4, 50, 16)


@pytest.mark.parametrize("name", [name for name in OWN_ROWS if "workers" not in name])
def test_every_row_gives_batches_of_the_corpus(corpus, name):
    for batch in itertools.islice(OWN_ROWS[name](corpus, 0), 10):
        assert batch.shape == (8, 16)
        assert batch[:, 0].max() < corpus.num_domains


def test_independent_draws_are_as_far_off_as_they_should_be():
    # One coin: the mean absolute difference of a binomial is sqrt(2 p q / (pi n)).
    expected = np.sqrt(2 * 0.3 * 0.7 / (np.pi * 1000))
    found = independent_distance(np.array([0.3, 0.7]), 1000, 4000)
    assert found == pytest.approx(expected, rel=0.1)


def test_nothing_is_nearer_than_perfect_rounding(corpus):
    # Of 7 draws, 3.5 and 2.1 and 1.4 are asked for: 4, 2, 1 are nearest, 0.5 samples off.
    assert perfect_distance(np.array([0.5, 0.3, 0.2]), 7) == pytest.approx(0.5 / 7)
    for draws in (100, 1000):
        assert perfect_distance(corpus.mixture_k, draws) <= own_distance(corpus, draws, seeds=3)


def test_our_draws_are_ten_times_closer(corpus):
    for draws in (1000, 20_000):
        theirs = independent_distance(corpus.mixture_k, draws)
        assert 10 * own_distance(corpus, draws, seeds=3) < theirs


def test_the_command_prints_tables_and_what_is_missing(tmp_path, monkeypatch, capsys):
    arguments = "--rounds 1 --draws 64 --row-seconds 0.1 --domains 2 --only floor 1,024 Mosaic"
    monkeypatch.setattr("sys.argv", ["sampling", "--work", str(tmp_path), *arguments.split()])
    monkeypatch.setattr("benchmarks.sampling.__main__.written_corpus",
                        lambda folder, k, _, __: written_corpus(folder, k, 40, 8))  # fmt: skip
    monkeypatch.setattr("benchmarks.sampling.__main__.own_distance", lambda corpus, draws: 0.5)
    monkeypatch.setattr("benchmarks.sampling.__main__.planning_ms", lambda *_: [1.0, 2.0])
    main()
    printed = capsys.readouterr().out
    assert "| DIDS, 1,024 samples a step | " in printed
    assert "independent draws" in printed
