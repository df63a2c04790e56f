"""For the whole test suite: shapes checked at run time, hypothesis profile, real data."""

import gc
import os
from pathlib import Path

# Before anything loads it: a test process has a thread, and xdist has as many as there are cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings
from shape_checks import check_package

# Fixtures, no doctests: a folder whose name comes before "conftest" would take the module's name.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]

check_package("dids")


@pytest.fixture(scope="session", autouse=True)
def _imports_that_last():
    """Every run of a test would look through all that is imported for garbage, three times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _a_machine_that_stays_on():
    """No test cuts its power, so none waits for the disk: what is written survives a kill."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


settings.register_profile(
    "dids",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("dids")


@pytest.fixture(scope="session")
def instruct_pack():
    """The folder of real instruction data."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DIDS_DATA", beside))
    if not (folder / "train").is_dir():
        pytest.skip(f"the instruction data is not at {folder} (set DIDS_DATA)")
    return folder
