"""Speed is that of the last minute."""

import pytest

from dids.training.pace import Pace


def test_only_the_last_minute_counts():
    pace = Pace()
    assert pace.tokens_per_s is None
    for second in range(200):
        pace.look(float(second), 10 * second if second < 100 else 1000 + 50 * (second - 100))
    assert pace.tokens_per_s == pytest.approx(50.0)


def test_a_pause_counts_as_time():
    pace = Pace()
    for now_s, tokens in [(0.0, 0), (1.0, 100), (41.0, 100)]:
        pace.look(now_s, tokens)
    assert pace.tokens_per_s == pytest.approx(100 / 41)


def test_a_long_step_still_has_a_speed():
    pace = Pace()
    for now_s, tokens in [(0.0, 0), (300.0, 3000), (700.0, 7000)]:
        pace.look(now_s, tokens)
    assert pace.tokens_per_s == pytest.approx(10.0)
