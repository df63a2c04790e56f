"""The contest's settings load, the hard one's records are what it says, the table adds up."""

import json

import pytest

from benchmarks.contest.hard_data import JUNK, UNLIKE, USEFUL, write_hard_data
from benchmarks.contest.markdown import markdown
from dids.config import load_config

ROOT_FILES = ("instruct", "demo", "hard")


@pytest.mark.parametrize("name", ROOT_FILES)
def test_every_setting_is_a_config(name, monkeypatch, request):
    monkeypatch.setenv("DIDS_DATA", "/data")
    monkeypatch.setenv("DIDS_HARD_DATA", "/hard")
    config = load_config(request.config.rootpath / "benchmarks" / "contest" / f"{name}.yaml")
    assert config.budget.tokens == (750_000 if name == "instruct" else 300_000)
    if name == "hard":
        assert config.domains.within == "all"
        assert config.domains.number == 48
        assert config.data.sources["scarce"].max_repeats == 2


def test_the_hard_data_is_30_percent_junk_and_has_no_source_that_matches_a_task(
    instruct_pack, tmp_path
):
    folder = write_hard_data(instruct_pack, tmp_path / "a")
    mixed, scarce = ((folder / f"{name}.jsonl").read_bytes() for name in ("mixed", "scarce"))
    lines = {name: data.decode().split("\n")[:-1] for name, data in
             {"mixed": mixed, "scarce": scarce}.items()}  # fmt: skip
    assert all(json.loads(line)["messages"] for found in lines.values() for line in found)
    assert len(lines["scarce"]) == 150 * len(USEFUL)
    num_junk = len(lines["mixed"]) - 1000 * len(UNLIKE)
    assert num_junk / (len(lines["mixed"]) + len(lines["scarce"])) == pytest.approx(0.3, abs=1e-3)
    matching = {"gsm8k_train", "mathqa_dev", "physical_howto", "medical_qa"}
    assert not matching & {*UNLIKE, *USEFUL, *JUNK}
    again = write_hard_data(instruct_pack, tmp_path / "b")
    assert (again / "mixed.jsonl").read_bytes() == mixed
    assert (again / "scarce.jsonl").read_bytes() == scarce


def standing(loss, baseline, gap=None):
    difference = {"mean": loss - baseline}
    closed = None if gap is None else {"mean": gap}
    return {"standing": {"loss": {"mean": loss}, "difference": difference, "gap_closed": closed}}


def test_the_table_has_a_row_an_entrant_the_best_on_average_first():
    results = {
        "a": {
            "ranking": ["dids", "uniform"],
            "entrants": {"dids": standing(3.8, 4.0, 0.9), "uniform": standing(4.0, 4.0, 0.0)},
        },
        "b": {
            "ranking": ["uniform", "odd"],
            "entrants": {
                "uniform": standing(2.0, 2.0), "odd": standing(2.2, 2.0), "dids": {"standing": None}
            },
        },
    }  # fmt: skip
    rows = markdown(results).replace("\N{MINUS SIGN}", "-").replace("\u202f", " ").splitlines()
    assert rows[0] == "| | a: loss, gap closed | b: loss, gap closed |"
    assert rows[2:] == [
        "| dids | -5.0 %, 90 % | – |",
        "| uniform | 0.0 %, 0 % | 0.0 % |",
        "| odd | – | +10.0 % |",
    ]
