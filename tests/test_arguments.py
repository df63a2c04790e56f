"""What cannot be is refused where it is given, in a sentence, where nobody checks types.

The other tests check every call's types and shapes; users' programs do not.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SAID = {
    "a number of domains that is a word": "must be a whole number, auto or sources, got 'six'",
    "a number of domains that is a fraction": "must be a whole number, auto or sources, got 6.0",
    "domains within what there is not": "domains.within must be one of source, all, got 'sources'",
    "domains of nothing": "there are 0 samples of 1 sources",
    "sources without a name": "there are 9 samples of 1 sources",
    "a feature that is no number": "a gradient feature has entries that are no numbers",
    "another Fisher information": "fisher must be whole or diagonal, but it is 'diagonl'",
    "gradients that are no numbers": "domain 0 has rows that are no numbers",
    "fewer weights than samples": "a weight for each sample of each domain",
    "a Fisher information of other tasks": "target_tp and fisher_tp are of the same tasks",
    "weights that are all zero": "weights not all zero",
    "matrices in no metric": "within must be one of damped, fisher, step, plain",
    "matrices of other tasks": "gram_tkk has shape (2, 2, 2), but there are 2 domains and 1 tasks",
    "two domains of one name": "two of a, a are called 'a'",
    "an estimator in no metric": "within must be one of damped, fisher, step, plain",
    "an estimator of no labels": "labels must be one of data, model, got 'Model'",
    "an estimator of no gradients": "domain_gradients must be one of training, samples",
    "a task without a loss": "task 'sums': none of its 3 samples has a scored token",
    "no task": "there is no task",
    "labels of nobody": "labels must be one of data, model, got 'Model'",
    "labels of another shape": "labels must be one for each token",
    "no labels": "a batch must have labels, but it has input_ids",
    "a forecast in no unit": "unit must be samples or tokens, but it is 'tokns'",
    "a mask for sample ids": "sample ids must be whole numbers, but are bool",
    "a list for sample ids": "sample ids must be an array or a range, but are a list",
    "sample ids below zero": "sample ids must be 0 or more",
    "lengths that are no whole numbers": "lengths must be whole numbers, but are float64",
    "lengths below zero": "lengths must be 0 or more, but one is -5",
    "half a step": "start_step must be a whole number, but it is 7.5",
    "a step before the first": "start_step must be 0 or more, but it is -1",
    "no micro-batch": "micro_batch_size must be 1 or more, but it is 0",
    "a weight for domains without samples": "weights.a: no domain that it fits has a sample",
    "more floors than caps": "there are 3 floors, but 2 caps",
    "a mixture that is no number": "a mixture of 2 domains has as many numbers",
    "a shard that there is not": "there are 3 shards, so none has number 7",
    "features by a mask": "np.flatnonzero makes them of a mask",
    "a feature too small for its precision": "or too small for one",
}


@pytest.fixture(scope="module")
def errors():
    script = Path(__file__).with_name("arguments.py")
    found = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


def test_every_call_is_expected(errors):
    assert set(errors) == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_it_is_refused_in_a_sentence(errors, name):
    kind, message = errors[name]
    assert kind in ("InputError", "ValueError")
    assert SAID[name] in message
