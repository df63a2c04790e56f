"""Calls with arguments that cannot be, as users make them: without the checks of the tests.

Prints the error of each, by name, as JSON.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dids.domains import cluster_features
from dids.gradients import (
    Coordinates,
    FeatureStore,
    Projection,
    fisher_diagonal,
    sample_features,
    sample_losses,
)
from dids.impact import metric
from dids.impact.clipping import clipped_share
from dids.impact.estimate import ImpactEstimator
from dids.impact.matrices import ImpactMatrices
from dids.impact.measuring_budget import MeasuringBudget
from dids.impact.sample_impact import impact
from dids.mixture.limits import MixtureLimits
from dids.mixture.named_weights import weighted_mixture
from dids.sampling import MixtureBatchSampler, MixtureSampler, forecast

ROWS = torch.ones(3, 4)
NO_NUMBER = torch.full((3, 4), torch.nan)
IDS = torch.arange(6)[None]


def model():
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            "llama", vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=2, pad_token_id=None, bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip


def clustered(number=2, within="all", features=None, source=None):
    features = np.random.default_rng(0).normal(size=(9, 4)) if features is None else features
    source = np.zeros(len(features), np.int32) if source is None else source
    return cluster_features(
        features.astype(np.float32), source, number, within, 0, source_names=["a"]
    )


def matrices(**changes):
    arrays = {
        "gram_tkk": np.ones((1, 2, 2)), "kernel_kt": np.ones((2, 1)), "target_norm_t": np.ones(1),
        "domain_names": ("a", "b"), "task_names": ("t",),
    }  # fmt: skip
    return ImpactMatrices(**{**arrays, **changes})


class Samples:
    """Samples of a task none of which has a scored token."""

    lengths = np.full(3, 4)

    def __len__(self):
        return 3

    def scored(self, groups):
        return [group[:0] for group in groups]


def estimator(**changes):
    arguments = {
        "dataset": Samples(), "members_by_domain": [np.arange(3)], "domain_names": ["d"],
        "tasks": {"sums": Samples()}, "collate": None, "budget": MeasuringBudget(1, 2, 2),
        "max_coordinates": None, "labels": "data", "seed": 0, **changes,
    }  # fmt: skip
    return ImpactEstimator(**arguments)


def sampler(domains=(range(3), range(3, 6)), lengths=4):
    return MixtureSampler(domains, lengths, batch_size=2, seed=0, mixture=[0.5, 0.5])


def store(folder):
    return FeatureStore.create(Path(folder), "key", 5, 2, shard_size=2)


def asked_by_mask(folder):
    return store(folder)[np.ones(5, bool)]


CALLS = {
    "a number of domains that is a word": lambda _: clustered("six"),
    "a number of domains that is a fraction": lambda _: clustered(6.0),
    "domains within what there is not": lambda _: clustered(within="sources"),
    "domains of nothing": lambda _: clustered("auto", features=np.zeros((0, 4))),
    "sources without a name": lambda _: clustered(source=np.arange(9)),
    "a feature that is no number": lambda _: clustered(features=np.full((9, 4), np.nan)),
    "another Fisher information": lambda _: impact([ROWS], [ROWS], fisher="diagonl"),
    "gradients that are no numbers": lambda _: impact([NO_NUMBER], [ROWS], metric="cosine"),
    "fewer weights than samples": lambda _: impact([ROWS], [ROWS], domain_weights=[np.ones(2)]),
    "a Fisher information of other tasks": lambda _: metric.kl_distance(
        ROWS, torch.ones(5, 4), torch.ones(2, 4)
    ),
    "weights that are all zero": lambda _: clipped_share(
        ROWS, np.zeros(3), batch_size=1, max_norm=1.0
    ),
    "matrices in no metric": lambda _: matrices(within="fischer"),
    "matrices of other tasks": lambda _: matrices(gram_tkk=np.ones((2, 2, 2))),
    "two domains of one name": lambda _: matrices(domain_names=("a", "a")),
    "an estimator in no metric": lambda _: estimator(within="fischer"),
    "an estimator of no labels": lambda _: estimator(labels="Model"),
    "an estimator of no gradients": lambda _: estimator(domain_gradients="trainig"),
    "a task without a loss": lambda _: estimator(),
    "no task": lambda _: estimator(tasks={}),
    "labels of nobody": lambda _: fisher_diagonal(
        (own := model()), [{"input_ids": IDS, "labels": IDS}], Coordinates.of(own), labels="Model"
    ),
    "labels of another shape": lambda _: sample_losses(
        model(), {"input_ids": IDS, "labels": IDS[:, :3]}
    ),
    "no labels": lambda _: sample_features(model(), {"input_ids": IDS}, Projection(16)),
    "a forecast in no unit": lambda _: forecast([4], [None], [1.0], 2, 2, unit="tokns"),
    "a mask for sample ids": lambda _: sampler([np.ones(3, bool), np.ones(3, bool)]),
    "a list for sample ids": lambda _: sampler([[0, 1], [2]]),
    "sample ids below zero": lambda _: sampler([range(-3, 3), range(3, 6)]),
    "lengths that are no whole numbers": lambda _: sampler(lengths=np.full(6, np.nan)),
    "lengths below zero": lambda _: sampler(lengths=np.full(6, -5)),
    "half a step": lambda _: sampler().set_mixture([0.5, 0.5], 7.5),
    "a step before the first": lambda _: MixtureBatchSampler(
        sampler(), 1, 2, num_steps=3, start_step=-1
    ),
    "no micro-batch": lambda _: MixtureBatchSampler(sampler(), 0, 1, num_steps=3),
    "a weight for domains without samples": lambda _: weighted_mixture(
        {"a": 1.0, "b": 1.0}, ["a", "b"], np.array([0, 10]), "weights"
    ),
    "more floors than caps": lambda _: MixtureLimits(np.zeros(3), np.ones(2)),
    "a mixture that is no number": lambda _: MixtureLimits.with_floor(2, 0.1).project(
        np.array([np.nan, 1.0])
    ),
    "a shard that there is not": lambda folder: store(folder).write_shard(7, np.zeros((0, 2))),
    "features by a mask": asked_by_mask,
    "a feature too small for its precision": lambda folder: store(folder).write_shard(
        0, np.full((2, 2), 1e-9, np.float32)
    ),
}


def error_of(call):
    with TemporaryDirectory() as folder:
        try:
            call(Path(folder) / "store")
        except Exception as error:
            return [type(error).__name__, str(error)]
    return ["", "it was taken"]


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: error_of(call) for name, call in CALLS.items()}))
