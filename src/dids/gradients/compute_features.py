"""Features of a whole corpus into a store: resumable, to the same bits.

The batches inside a shard are a fixed function of the shard: its samples sorted by length, cut by a
budget of tokens. So a shard's bytes do not depend on which shards were there before.

Axes: n samples of a shard, r rows of the store, d feature dimensions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from dids.gradients.feature_store import FeatureStore
from dids.gradients.projection import Projection
from dids.gradients.sample_features import sample_features


@runtime_checkable
class SampleSource(Protocol):
    """What is asked of a data set: lengths and samples by number."""

    @property
    def lengths(self) -> Any:  # noqa: ANN401
        """Tokens of each sample, an array."""

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """One sample, as the collator takes it."""
        ...


Collate = Callable[[list[Any]], Mapping[str, Any]]


def compute_features(
    model: nn.Module,
    dataset: SampleSource,
    collate: Collate,
    projection: Projection,
    store: FeatureStore,
    *,
    batch_tokens: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
    sample_of_row: Integer[np.ndarray, " r"] | None = None,
    layers: Sequence[str] | None = None,
) -> None:
    """Compute and store the shards that the store still misses.

    Args:
        model: The proxy, already on the device.
        dataset: The corpus.
        collate: Makes a batch of a list of samples.
        projection: Π.
        store: Where features go.
        batch_tokens: Tokens of a batch at most, padding included (a longer sample goes alone).
        device: Where batches are computed.
        progress: Told how many samples were done, a batch at a time.
        sample_of_row: Which sample each row of the store belongs to. None: sample i to row i.
        layers: Patterns of the names of parameters or modules; None for every layer.

    Raises:
        InputError: If a feature is not finite, or the disk is full.
    """
    sample_r = np.arange(len(store)) if sample_of_row is None else sample_of_row
    for shard in store.missing_shards():
        rows = store.shard_range(shard)
        sample_n = sample_r[rows.start : rows.stop]
        feature_nd = features_of(
            model,
            dataset,
            collate,
            projection,
            sample_n,
            batch_tokens=batch_tokens,
            device=device,
            progress=progress,
            layers=layers,
        )
        store.write_shard(shard, feature_nd, sample_n)


def features_of(
    model: nn.Module,
    dataset: SampleSource,
    collate: Collate,
    projection: Projection,
    sample_n: Integer[np.ndarray, " n"],
    *,
    batch_tokens: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
    layers: Sequence[str] | None = None,
) -> Float[np.ndarray, "n d"]:
    """Features of some samples, in memory; for the arguments see `compute_features`."""
    feature_nd = np.zeros((len(sample_n), projection.dim), dtype=np.float32)
    for place_b, batch in batches_by_length(
        dataset, collate, sample_n, batch_tokens=batch_tokens, device=device
    ):
        feature_bd = sample_features(model, batch, projection, layers=layers)
        feature_nd[place_b] = feature_bd.float().cpu().numpy()
        if progress is not None:
            progress(len(place_b))
    return feature_nd


def batches_by_length(
    dataset: SampleSource,
    collate: Collate,
    sample_n: Integer[np.ndarray, " n"],
    *,
    batch_tokens: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Batches of samples of like length; for the arguments see `compute_features`.

    Args:
        dataset: The corpus.
        collate: Makes a batch of a list of samples.
        sample_n: Numbers of the samples.
        batch_tokens: Tokens of a batch at most.
        device: Where batches go.

    Yields:
        Places in ``sample_n``, and their batch.
    """
    for place_b in length_batches(np.asarray(dataset.lengths)[sample_n], batch_tokens):
        batch = collate(_items(dataset, sample_n[place_b].tolist()))
        tensors = {
            name: value.to(device) for name, value in batch.items() if isinstance(value, Tensor)
        }
        yield place_b, tensors


def length_batches(lengths_n: Integer[np.ndarray, " n"], batch_tokens: int) -> list[list[int]]:
    """Group samples of like length into batches of at most so many tokens, padding included.

    Args:
        lengths_n: Tokens of each sample.
        batch_tokens: Budget of a batch; a longer sample makes a batch of its own.

    Returns:
        Places of the samples, batch by batch, shortest first.

    Example:
        >>> length_batches(np.array([5, 2, 2, 9]), 8)
        [[1, 2], [0], [3]]
    """
    batches: list[list[int]] = []
    current: list[int] = []
    for place in np.argsort(lengths_n, kind="stable").tolist():
        if current and (len(current) + 1) * int(lengths_n[place]) > batch_tokens:
            batches.append(current)
            current = []
        current.append(place)
    return [*batches, current] if current else batches


def _items(dataset: SampleSource, indices: Sequence[int]) -> list[Any]:
    many = getattr(dataset, "__getitems__", None)
    return list(many(list(indices))) if many is not None else [dataset[i] for i in indices]
