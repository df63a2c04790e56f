"""Weights and schedules that a user wrote, in a whole run."""

import pytest
from tiny_run import write_config

from dids.atomic import read_json
from dids.config import load_config
from dids.errors import InputError
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages


def trained(folder, **mixture):
    mixture = {"rounds": 4, "floor": 0.0, **mixture}
    config = load_config(write_config(folder, mixture=mixture, control=None))
    return run_stages(config, RunFolder(folder / "run"), ConsoleProgress(), last="train")


def shares(entry, source):
    return sum(p for name, p in entry["probability"].items() if name.split("/")[0] == source)


def test_a_schedule_moves_the_mixture_from_round_to_round(tmp_path):
    points = [{"at": 0, "weights": {"sums*": 1}}, {"at": 1, "weights": {"colours*": 1}}]
    work = trained(tmp_path, policy="schedule", settings={"points": points})
    mixtures = read_json(work.path("train") / "history.json")["mixture"]
    assert [shares(each, "colours") for each in mixtures] == pytest.approx(
        [0.0, 0.25, 0.5, 0.75], abs=0.08
    )
    for each in mixtures:
        assert shares(each, "colours") + shares(each, "sums") == pytest.approx(1.0)


def test_a_name_of_no_domain_ends_the_run_with_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"^mixture\.settings\.weights\.sum: no domain .* 'sums'"):
        trained(tmp_path, policy="weights", settings={"weights": {"sum": 1}})
