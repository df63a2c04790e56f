"""Training tests share one thing: a collection of garbage must not look at the libraries."""

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def _libraries_are_no_garbage():
    # Every Trainer.train collects garbage, which takes a second with torch and datasets imported.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
