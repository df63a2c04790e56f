"""Other libraries' loaders with the same mixture, each in the quickest way that it documents.

A library that is not installed raises ImportError and gets a line that says so.
"""

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.sampling.corpus import Corpus
from benchmarks.sampling.rows import MICRO_BATCH, Row


def interleave(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """``datasets.interleave_datasets`` of Arrow data sets, streamed."""
    import datasets

    parts = []
    for domain in range(corpus.num_domains):
        rows = datasets.Dataset.from_dict({"input_ids": corpus.rows_of(domain)})
        parts.append(rows.with_format("numpy").to_iterable_dataset().repeat(None))
    stream = datasets.interleave_datasets(
        parts, probabilities=corpus.mixture_k.tolist(), seed=seed
    ).with_format("numpy")
    return _stacked(item["input_ids"] for item in stream)


def torchdata_nodes(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """``MultiNodeWeightedSampler`` over slices of the memory map."""
    from torchdata.nodes import Batcher, Loader, Mapper, MapStyleWrapper, MultiNodeWeightedSampler

    tokens_nt = np.asarray(corpus.tokens())
    nodes, weights = {}, {}
    for domain in range(corpus.num_domains):
        first = domain * corpus.samples_per_domain
        rows = tokens_nt[first : first + corpus.samples_per_domain]
        order = torch.utils.data.RandomSampler(rows)
        nodes[str(domain)] = MapStyleWrapper(map_dataset=rows, sampler=order)
        weights[str(domain)] = float(corpus.mixture_k[domain])
    mixed = MultiNodeWeightedSampler(nodes, weights, stop_criteria="CYCLE_FOREVER", seed=seed)
    batches = Mapper(Batcher(mixed, MICRO_BATCH), _stack)
    return iter(Loader(batches))


def lit_data(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """``CombinedStreamingDataset`` of blocks of tokens in its own format."""
    from litdata import CombinedStreamingDataset, StreamingDataset, TokensLoader
    from litdata.streaming.writer import BinaryWriter

    num_tokens = corpus.tokens().shape[1]
    parts = []
    for domain in range(corpus.num_domains):
        folder = corpus.domain_folder("litdata", domain)
        if not (folder / "index.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            writer = BinaryWriter(
                str(folder), chunk_bytes="8MB", item_loader=TokensLoader(num_tokens)
            )
            for number, row in enumerate(corpus.rows_of(domain)):
                writer[number] = torch.from_numpy(row.copy())
            writer.done()
            writer.merge()
        parts.append(
            StreamingDataset(
                str(folder), item_loader=TokensLoader(num_tokens), shuffle=True, seed=seed
            )
        )
    combined = CombinedStreamingDataset(
        parts, weights=corpus.mixture_k.tolist(), iterate_over_all=False, seed=seed
    )
    return _stacked(item for item in chain.from_iterable(repeat(combined)))


def grain_mix(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """``MapDataset.mix`` of shuffled, repeated memory-map slices, read in this thread."""
    import grain

    tokens_nt = np.asarray(corpus.tokens())
    parts = []
    for domain in range(corpus.num_domains):
        first = domain * corpus.samples_per_domain
        rows = tokens_nt[first : first + corpus.samples_per_domain]
        parts.append(grain.MapDataset.source(rows).shuffle(seed=seed + domain).repeat())
    mixed = grain.MapDataset.mix(parts, weights=corpus.mixture_k.tolist())
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    stream = mixed.to_iter_dataset(options).batch(MICRO_BATCH)
    return (torch.from_numpy(batch.astype(np.int64)) for batch in stream)


def mosaicml(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """``StreamingDataset`` of streams with proportions, in its own format."""
    from streaming import MDSWriter, Stream, StreamingDataset

    num_tokens = corpus.tokens().shape[1]
    streams = []
    for domain in range(corpus.num_domains):
        folder = corpus.domain_folder("mds", domain)
        if not (folder / "index.json").exists():
            with MDSWriter(out=str(folder), columns={"t": f"ndarray:int32:{num_tokens}"}) as writer:
                for row in corpus.rows_of(domain):
                    writer.write({"t": row})
        streams.append(Stream(local=str(folder), proportion=float(corpus.mixture_k[domain])))
    dataset = StreamingDataset(
        streams=streams, shuffle=True, shuffle_seed=seed, batch_size=MICRO_BATCH
    )
    return _stacked(item["t"] for item in chain.from_iterable(repeat(dataset)))


def _stack(items: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(item) for item in items]).astype(np.int64))


def _stacked(items: Iterator[Any]) -> Iterator[Tensor]:
    while True:
        yield _stack([next(items) for _ in range(MICRO_BATCH)])


RIVALS: dict[str, Row] = {
    "datasets interleave_datasets": interleave,
    "torchdata MultiNodeWeightedSampler": torchdata_nodes,
    "litdata CombinedStreamingDataset": lit_data,
    "Grain MapDataset.mix": grain_mix,
    "MosaicML StreamingDataset": mosaicml,
}
