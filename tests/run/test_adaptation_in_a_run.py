"""What policies after domain adaptation ask for reaches them in a run; searches are made."""

import json

import numpy as np
import pytest
from tiny_run import write_config

from dids.config import load_config
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages


def mixtures_of(folder, policy, *, last="train", **settings):
    """What a run under a policy decided, from its first mixture on."""
    mixture = {"policy": policy, "rounds": 4, "settings": settings}
    config = load_config(write_config(folder, mixture=mixture, control=None))
    work = run_stages(config, RunFolder(folder / "run"), ConsoleProgress(), last=last)
    history = json.loads((folder / "run" / "train" / "history.json").read_text(encoding="utf-8"))
    return work, history["mixture"]


def test_brackets_order_the_blocks_of_a_round(tmp_path):
    _, mixtures = mixtures_of(tmp_path, "commute", every_steps=2)
    shares = np.array([list(entry["probability"].values()) for entry in mixtures])
    rounds = np.array([entry["round"] for entry in mixtures])
    np.testing.assert_allclose(shares[rounds == 0], 0.25)
    measured = [e["explanation"]["brackets"] for e in mixtures if "brackets" in e["explanation"]]
    assert len(measured) == 3  # at the ends of the first three of four rounds
    for bracket in map(np.array, measured):
        np.testing.assert_allclose(bracket, -bracket.T)
        assert np.abs(bracket).max() > 0
    for number in (1, 2, 3):
        inside = shares[rounds == number]
        assert len(inside) > 2
        first = int(
            np.argmax(
                mixtures[int(np.flatnonzero(rounds == number)[0])]["explanation"]["precedence"]
            )
        )
        assert inside[0, first] > 0.25 > inside[-1, first]


def test_the_bandit_sees_features_and_losses_within_rounds(tmp_path):
    _, mixtures = mixtures_of(tmp_path, "distance-bandit", every_steps=2)
    assert len(mixtures) > 6
    assert np.std(mixtures[0]["explanation"]["value"]) == pytest.approx(1.0, abs=0.5)
    drops = [entry["explanation"]["drop"] for entry in mixtures]
    assert drops[0] is None
    assert all(drop is not None for drop in drops[1:])
    for entry in mixtures:
        shares = list(entry["probability"].values())
        assert int(np.argmax(shares)) == entry["explanation"]["chosen"]


def test_confidence_is_read_off_the_training_steps(tmp_path):
    _, mixtures = mixtures_of(tmp_path, "confidence")
    assert "note" in mixtures[0]["explanation"]
    for entry in mixtures[1:]:
        confidence = np.array(entry["explanation"]["confidence"])
        assert ((confidence > 1 / 300) & (confidence < 1)).all()


@pytest.mark.parametrize("policy", ["osmosis", "strata", "anchors"])
def test_features_are_there_from_the_first_mixture_on(tmp_path, policy):
    work, mixtures = mixtures_of(tmp_path, policy)
    assert (work.path("feature_samples") / "features.npy").exists()
    for entry in mixtures:
        assert "note" not in entry["explanation"]
    if policy == "strata":
        stages = [entry["explanation"]["stage"] for entry in mixtures]
        assert stages == sorted(stages)
        assert stages[-1] > stages[0] == 0
    if policy == "osmosis":
        passed = [entry["explanation"]["passed"] for entry in mixtures]
        np.testing.assert_allclose(passed, [0.0, 0.25, 0.5, 0.75], atol=0.03)


@pytest.mark.parametrize(
    ("policy", "settings", "model"),
    [
        ("regmix", {"num_trials": 3, "budget": 0.25}, "proxy"),
        ("best-fixed", {"num_trials": 3}, "model"),
    ],
)
def test_a_search_is_made_accounted_for_and_followed(tmp_path, policy, settings, model):
    work, mixtures = mixtures_of(tmp_path, policy, **settings)
    search = json.loads((work.path("search.json")).read_text(encoding="utf-8"))
    assert len(search["trials"]) == 3
    assert {trial["asked"]["model"] for trial in search["trials"]} == {model}
    for entry in mixtures:
        np.testing.assert_allclose(
            list(entry["probability"].values()), search["policy"]["mixture"], atol=1e-9
        )
