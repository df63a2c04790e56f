import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dids.sampling.permutation import permuted
from dids.sampling.random_bits import random_bits


def slow_permuted(position, size, key):
    """The same network with Python's integers, one position at a time."""
    word = 2**64

    def shift(key, other, modulus):
        bits = (key + other * 0x9E3779B97F4A7C15) % word
        bits = ((bits ^ (bits >> 32)) * 0xBF58476D1CE4E5B9) % word
        return ((bits >> 32) * modulus) >> 32

    height = int(np.ceil(np.sqrt(size)))
    width = -(-size // height)
    cell = position
    while True:
        row, column = divmod(cell, width)
        for number in range(8):
            round_key = key ^ int(random_bits(np.array([number]))[0])
            if number % 2 == 0:
                row = (row + shift(round_key, column, height)) % height
            else:
                column = (column + shift(round_key, row, width)) % width
        cell = row * width + column
        if cell < size:
            return cell


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_every_key_is_a_permutation_and_equals_its_slow_twin(size, key):
    image = permuted(np.arange(size), np.full(size, size), np.full(size, key, dtype=np.uint64))
    assert sorted(image.tolist()) == list(range(size))
    for position in range(0, size, 37):
        assert image[position] == slow_permuted(position, size, key)


def test_small_permutations_are_all_about_equally_likely():
    num_keys = 24_000
    keys = random_bits(3, np.arange(num_keys))
    for size in (2, 3, 4):
        images = permuted(
            np.tile(np.arange(size), num_keys), np.full(size * num_keys, size), keys.repeat(size)
        ).reshape(num_keys, size)
        orders = list(itertools.permutations(range(size)))
        counts = np.array([(images == order).all(1).sum() for order in orders])
        # Within 15 %: the network is no perfect shuffle of four samples, but no order is favoured.
        np.testing.assert_allclose(counts, num_keys / len(orders), rtol=0.15)


def test_each_position_is_sent_everywhere_equally_often():
    keys = random_bits(9, np.arange(50_000))
    image = permuted(np.full(50_000, 17), np.full(50_000, 100), keys)
    counts = np.bincount(image, minlength=100)
    chi_square = ((counts - 500.0) ** 2 / 500.0).sum()
    assert chi_square < 160  # 99.99th percentile of chi-square with 99 degrees of freedom


def test_a_domain_of_a_billion_samples_needs_no_memory():
    position = np.arange(0, 10**9, 10**5)
    image = permuted(
        position, np.full(len(position), 10**9), np.full(len(position), 1, dtype=np.uint64)
    )
    assert len(np.unique(image)) == len(position)
    assert abs(image.mean() / 5e8 - 1) < 0.05
