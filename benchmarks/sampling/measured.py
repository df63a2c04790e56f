"""Speeds that alternate with the floor, planning times, and distances from the asked mixture."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from benchmarks.sampling.corpus import Corpus
from benchmarks.sampling.rows import MICRO_BATCH, Row, floor, sampler_of

DRAWS = (1_000, 20_000)


@dataclass
class Measured:
    """What a row did.

    Attributes:
        speeds: Samples a second, one a round.
        ratios: To the floor that ran right before, one a round.
        distances: Total variation of the first draws from the mixture, by number of draws.
        problem: Why there are no numbers.
    """

    speeds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    distances: dict[int, float] = field(default_factory=dict)
    problem: str | None = None


def measured_rows(
    corpus: Corpus, rows: dict[str, Row], rounds: int, draws: int, longest_s: float
) -> dict[str, Measured]:
    """Every row once a round, each right after the floor."""
    found = {name: Measured() for name in rows}
    streams: dict[str, Iterator[Tensor]] = {}
    for name, row in rows.items():
        _start(corpus, name, row, found[name], streams, longest_s)
    base = floor(corpus, 1)
    for _ in range(rounds):
        for name, stream in streams.items():
            # Workers' time is not this process's: their row is timed by the clock on the wall.
            clock = time.perf_counter if "workers" in name else time.process_time
            floor_speed = _speed(base, draws, longest_s, clock)
            speed = _speed(stream, draws, longest_s, clock)
            found[name].speeds.append(speed)
            found[name].ratios.append(speed / floor_speed)
    return found


def _start(
    corpus: Corpus,
    name: str,
    row: Row,
    measured: Measured,
    streams: dict[str, Iterator[Tensor]],
    longest_s: float,
) -> None:
    """Open a row's stream and look at its first draws, or keep why that does not work."""
    try:
        stream = row(corpus, 0)
        measured.distances = _distances(corpus, stream, longest_s * 10)
        streams[name] = stream
    except Exception as error:
        words = str(error).strip().splitlines()
        measured.problem = f"{type(error).__name__}: {words[0] if words else ''}"[:90]


def planning_ms(corpus: Corpus, batch_size: int, num_steps: int) -> list[float]:
    """Processor time of planning one step after the other, in milliseconds a step.

    Several steps are planned together, so times are of blocks of 512 steps.
    """
    sampler = sampler_of(corpus, batch_size, 0)
    for step in range(512):
        sampler.plan(step)
    times = []
    for first in range(512, 512 + num_steps, 512):
        began = time.process_time()
        for step in range(first, first + 512):
            sampler.plan(step)
        times.append((time.process_time() - began) / 512 * 1e3)
    return times


def independent_distance(mixture_k: np.ndarray, draws: int, seeds: int = 20) -> float:
    """Mean total variation of independent draws."""
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(draws, mixture_k, size=seeds) / draws
    return float(np.abs(drawn - mixture_k).sum(axis=1).mean() / 2)


def own_distance(corpus: Corpus, draws: int, seeds: int = 20) -> float:
    """Mean total variation of our draws, in steps of 100 samples."""
    distances = []
    for seed in range(seeds):
        drawn_k = sampler_of(corpus, 100, seed).draws_by_domain(draws // 100)
        distances.append(np.abs(drawn_k / draws - corpus.mixture_k).sum() / 2)
    return float(np.mean(distances))


def perfect_distance(mixture_k: np.ndarray, draws: int) -> float:
    """Total variation of the nearest whole numbers with that sum: largest remainders round up.

    No loader can be closer after so many draws, and none can be as close after every number of
    them: from one to the next the nearest numbers may take a sample back.
    """
    asked_k = mixture_k * draws
    count_k = np.floor(asked_k)
    count_k[np.argsort(count_k - asked_k)[: draws - int(count_k.sum())]] += 1
    return float(np.abs(count_k / draws - mixture_k).sum() / 2)


def _speed(
    stream: Iterator[Tensor], draws: int, longest_s: float, clock: Callable[[], float]
) -> float:
    began, num = clock(), 0
    for _ in range(draws // MICRO_BATCH):
        next(stream)
        num += MICRO_BATCH
        if num % 512 == 0 and clock() - began > longest_s:
            break
    return num / (clock() - began)


def _distances(corpus: Corpus, stream: Iterator[Tensor], longest_s: float) -> dict[int, float]:
    """Of the first draws of a stream, as far as it comes in the time."""
    count_k = np.zeros(corpus.num_domains)
    distances: dict[int, float] = {}
    began = time.process_time()
    for draws in DRAWS:
        while count_k.sum() < draws:
            count_k += np.bincount(next(stream)[:, 0].numpy(), minlength=corpus.num_domains)
            if time.process_time() - began > longest_s:
                return distances
        distances[draws] = float(np.abs(count_k / count_k.sum() - corpus.mixture_k).sum() / 2)
    return distances
