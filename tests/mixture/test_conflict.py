"""Contradictions are named exactly: without any one of them the rest can be kept."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dids.mixture.conflict import NamedLimit, conflict


@st.composite
def said(draw):
    limits = []
    for number in range(draw(st.integers(1, 6))):
        row = np.array(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=4)))
        lower = draw(st.sampled_from([0.0, 0.2, 0.5, 0.9]))
        upper = draw(st.sampled_from([u for u in (0.1, 0.5, 0.9, 1.0) if u >= lower]))
        limits.append((str(number), row, lower, upper))
    return limits


@settings(max_examples=60)
@given(said())
def test_a_conflict_is_irreducible(limits):
    limits = [
        NamedLimit((name,), "", row[None], np.array([lower]), np.array([upper]))
        for name, row, lower, upper in limits
    ]
    found = conflict(limits, 4)
    if not found:
        return
    assert conflict(found, 4) == found
    for left_out in found:
        assert conflict([limit for limit in found if limit is not left_out], 4) == []


def test_no_conflict_where_a_mixture_keeps_everything():
    half = NamedLimit(("a",), "", np.array([[1.0, 1.0, 0, 0]]), np.array([0.5]), np.array([0.5]))
    rest = NamedLimit(("b",), "", np.array([[0, 0, 1.0, 1.0]]), np.array([0.5]), np.array([0.5]))
    assert conflict([half, rest], 4) == []
