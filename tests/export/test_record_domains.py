"""A record is in the domain that holds most of its tokens."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dids.export.record_domains import record_domains

SAMPLE = st.tuples(st.integers(1, 9), st.integers(0, 3))  # tokens, domain
RECORDS = st.lists(st.lists(SAMPLE, min_size=1, max_size=4), min_size=1, max_size=12)


def arrays(records):
    line_n = np.array([line for line, samples in enumerate(records) for _ in samples])
    flat = [sample for samples in records for sample in samples]
    length_n, domain_n = np.array(flat).T
    return line_n, np.zeros(len(flat), int), length_n, domain_n


def slow_twin(records):
    domains = []
    for samples in records:
        tokens = {d: sum(t for t, e in samples if e == d) for _, d in samples}
        domains.append(min(tokens, key=lambda d: (-tokens[d], d)))
    return domains


@given(RECORDS)
def test_most_of_the_tokens_decide(records):
    found = record_domains(*arrays(records))
    assert found.domain_r.tolist() == slow_twin(records)
    assert found.num_divided == sum(len({d for _, d in samples}) > 1 for samples in records)
    assert found.counts(4).sum() == len(records)


def test_same_line_of_another_file_is_another_record():
    found = record_domains(
        np.array([1, 1, 2]), np.array([0, 1, 1]), np.array([3, 3, 3]), np.array([0, 1, 1])
    )
    assert found.domain_r.tolist() == [0, 1, 1]
    assert found.first_sample_r.tolist() == [0, 1, 2]


def test_no_samples_are_no_records():
    empty = np.zeros(0, dtype=np.int64)
    assert len(record_domains(empty, empty, empty, empty).domain_r) == 0
