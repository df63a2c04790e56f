"""What a run remembers, from which the report has what the sampler forgets."""

import json

import numpy as np

from dids.training.history import History


def entry(step, web):
    return {"step": step, "probability": {"code": 1.0 - web, "web": web}}


def test_the_mixtures_of_a_run_are_read_from_its_rounds():
    history = History(mixture=[entry(0, 0.5), entry(4, 0.25), entry(4, 0.75), entry(9, 0.0)])
    history = History.from_json(json.loads(json.dumps(history.to_json())))
    mixtures = history.mixtures(["web", "code"])
    assert [mixtures.mixture(step)[0] for step in (0, 3, 4, 8, 9)] == [0.5, 0.5, 0.75, 0.75, 0.0]
    asked = 4 * 0.5 + 5 * 0.75
    np.testing.assert_allclose(mixtures.steps_asked(12), [asked, 12 - asked])
