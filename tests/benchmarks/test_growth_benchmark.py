"""The benchmarks of the plan and of growth: their tables by value, their runs in small."""

import pytest

from benchmarks.growth.generated_run import write_run
from benchmarks.growth.one_stage import Taken, take
from benchmarks.growth.table import bytes_a_sample, growth_table, slope
from benchmarks.plan.cases import CASES, case_config
from benchmarks.plan.table import table
from dids.config import load_config


def test_a_slope_is_the_exponent_of_a_power_law():
    assert slope([10, 100, 1000], [3.0, 30.0, 300.0]) == pytest.approx(1.0)
    assert slope([10, 100, 1000], [2.0, 200.0, 20_000.0]) == pytest.approx(2.0)


def test_the_table_of_growth_has_times_memory_and_slopes():
    def taken(size):
        return {"check": Taken(size / 1000, 500.0, 400.0 + size / 1e4, 390.0, size / 1e6)}

    by_size = {size: taken(size) for size in (10_000, 100_000, 1_000_000)}
    lines = growth_table(by_size, "samples").splitlines()
    assert lines[2] == "| check | 10.00, 500 | 100.00, 500 | 1000.00, 500 | 1.00 | 0.00 | 1.0 |"
    # 90 MB more for 900,000 samples.
    assert bytes_a_sample(by_size).endswith("from 100,000 to 1,000,000: check 100.")


def test_generated_stages_are_taken_one_by_one(tmp_path):
    config = write_run(tmp_path, 500, 6)
    for stage in ("check", "tokenizer", "tokens", "proxy", "features", "domains"):
        taken = take(config, stage)
        assert taken.own_mb >= taken.before_mb - 1
        assert taken.peak_mb > 100
    assert len(load_config(config).data.sources) == 5
    assert (tmp_path / "run" / "domains" / "domains.json").exists()


def test_the_table_of_plans_compares_stages_and_totals():
    plans = [
        ({"train": [train_s, 2e8, 3e6], "report": [0.2, memory, 1e6]}, 25.0)
        for train_s, memory in ((20.0, 3e8), (12.0, 3e8), (24.0, 1e8))
    ]
    run = {"train": [16.0, 2e8, 3e6], "report": [0.1, 2e8, 1e6], "search": [9.0, 9e9, 9e9]}
    lines = table(plans, run).splitlines()
    assert lines[0] == "Plans took 25, 25, 25 s of processor time."
    assert lines[4] == (
        "| train | 20.0 · 12.0 · 24.0, 16.0 | 1.25 (0.75–1.50) | 200, 200 | 1.00 | 3.00, 3.00 | "
        "1.00 |"
    )
    assert lines[5].startswith("| report | 0.2 · 0.2 · 0.2, 0.1 |  | 300, 200 | 1.50 |")
    assert lines[6].startswith(
        "| **in all** | 20.2 · 12.2 · 24.2, 16.1 | 1.25 (0.76–1.50) | 300, 200 | 1.50 | "
        "4.00, 4.00 |"
    )


@pytest.mark.parametrize("name", list(CASES))
def test_the_cases_are_configs(tmp_path, monkeypatch, name):
    monkeypatch.setenv("DIDS_DATA", str(tmp_path))
    config = load_config(case_config(name, tmp_path))
    assert config.run == str(tmp_path / "run")
