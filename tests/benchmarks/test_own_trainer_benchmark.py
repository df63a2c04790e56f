"""The benchmark of a Trainer of one's own trains what it says, and its table pairs seeds."""

import numpy as np
import pytest
from run.tiny_run import write_config

from benchmarks.own_trainer import __main__ as benchmark
from dids.config import load_config
from dids.run.folder import RunFolder
from dids.run.progress import ConsoleProgress
from dids.run.runner import run_stages

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    config = load_config(write_config(tmp_path_factory.mktemp("run")))
    folder = RunFolder(tmp_path_factory.mktemp("own") / "run")
    return run_stages(config, folder, ConsoleProgress(), last="tokens")


@pytest.mark.parametrize("entrant", ["uniform", "dids"])
def test_an_entrant_goes_on_from_the_base(work, entrant):
    base = benchmark._base(work, 2, seed=0)
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    result = benchmark._one(work, base, entrant, 4, seed=0)
    assert set(result["losses"]) == set(work.scored_tasks)
    assert all(np.isfinite(loss) for loss in result["losses"].values())
    assert result["tokens"] > 0
    assert (result["mixture"] is not None) == (entrant == "dids")
    for name, weight in base.state_dict().items():
        assert (weight == before[name]).all()  # the next entrant begins with the same


def test_the_table_pairs_seeds():
    def seed(loss, overhead=0.0):
        return {"losses": {"a": loss, "b": 2.0}, "tokens": 1000, "overhead": overhead}

    results = {
        "uniform": [seed(2.0), seed(4.0)],
        "dids": [seed(1.6, 0.02), seed(3.4, 0.04)],
    }
    own = benchmark.table(results).splitlines()[-1]
    assert own == (
        "| `dids` | 2.250 | -10.0 % (-10.0 to -10.0; -10.0, -10.0) | 1 of 2 | 1,000 | 3.0 % |"
    )
