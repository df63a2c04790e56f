"""Our rows and the floor: each is a function from a corpus to an endless stream of batches.

A batch is ``input_ids`` [8, t] in int64, ready for a model. Other libraries are in `rivals`.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.sampling.corpus import Corpus
from dids.data.domain_dataset import DomainCollator, DomainDataset
from dids.data.token_rows import TokenRows
from dids.sampling import MixtureBatchSampler, MixtureLoader, MixtureSampler

MICRO_BATCH = 8
Row = Callable[[Corpus, int], Iterator[Tensor]]


def floor(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """A memory map, read in micro-batches at ids that are known beforehand; no mixture."""
    return _gathered(corpus.tokens(), seed)


def floor_array(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """The same through a plain array: ``np.memmap`` takes time for its own type."""
    return _gathered(np.asarray(corpus.tokens()), seed)


def floor_rows(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """Row by row, as loaders that hand out one sample at a time read it."""
    tokens_nt, generator = corpus.tokens(), np.random.default_rng(seed)
    while True:
        for ids in generator.integers(0, len(tokens_nt), (4096, MICRO_BATCH)).tolist():
            yield torch.from_numpy(np.stack([tokens_nt[i] for i in ids]).astype(np.int64))


def _gathered(tokens_nt: np.ndarray, seed: int) -> Iterator[Tensor]:
    generator = np.random.default_rng(seed)
    while True:
        ids_nb = generator.integers(0, len(tokens_nt), (4096, MICRO_BATCH))
        for ids in ids_nb:
            yield torch.from_numpy(tokens_nt[ids].astype(np.int64))


def sampler_of(corpus: Corpus, batch_size: int, seed: int) -> MixtureSampler:
    """The sampler of a corpus."""
    size = corpus.samples_per_domain
    return MixtureSampler(
        [range(k * size, (k + 1) * size) for k in range(corpus.num_domains)],
        corpus.tokens().shape[1],
        batch_size=batch_size,
        seed=seed,
        mixture=corpus.mixture_k,
    )


def own_loader(batch_size: int, num_workers: int = 0) -> Row:
    """``MixtureLoader`` over the memory map, with so many samples in an optimizer step."""

    def row(corpus: Corpus, seed: int) -> Iterator[Tensor]:
        sizes = {str(k): corpus.samples_per_domain for k in range(corpus.num_domains)}
        loader = MixtureLoader(
            TokenRows(corpus.tokens(), sizes),
            sampler_of(corpus, batch_size, seed),
            micro_batch_size=MICRO_BATCH,
            accumulation=batch_size // MICRO_BATCH,
            num_steps=10**9,
            num_workers=num_workers,
            collate_fn=TokenRows.batch,
        )
        return (batch["input_ids"] for batch in loader)

    return row


def torch_loader(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """The batch sampler in PyTorch's own loader, as in a Hugging Face Trainer."""
    sizes = {str(k): corpus.samples_per_domain for k in range(corpus.num_domains)}
    batches = MixtureBatchSampler(sampler_of(corpus, 256, seed), MICRO_BATCH, 32, num_steps=10**9)
    loader = torch.utils.data.DataLoader(
        TokenRows(corpus.tokens(), sizes), batch_sampler=batches, collate_fn=TokenRows.batch
    )
    return (batch["input_ids"] for batch in loader)


def arrow_loader(corpus: Corpus, seed: int) -> Iterator[Tensor]:
    """``MixtureLoader`` over concatenated ``datasets.Dataset``s, a micro-batch in one read."""
    import datasets

    domains = range(corpus.num_domains)
    parts = [datasets.Dataset.from_dict({"input_ids": corpus.rows_of(k)}) for k in domains]
    data = DomainDataset(
        datasets.concatenate_datasets(parts).with_format("numpy"),
        {str(k): corpus.samples_per_domain for k in domains},
    )
    loader = MixtureLoader(
        data,
        sampler_of(corpus, 256, seed),
        micro_batch_size=MICRO_BATCH,
        accumulation=32,
        num_steps=10**9,
        collate_fn=DomainCollator(_stacked),
    )
    return (batch["input_ids"] for batch in loader)


def _stacked(items: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    rows_bt = np.stack([item["input_ids"] for item in items])
    return {"input_ids": torch.from_numpy(rows_bt.astype(np.int64))}


OWN_ROWS: dict[str, Row] = {
    "floor: memory-map gather": floor,
    "floor through a plain array": floor_array,
    "floor, row by row": floor_rows,
    "DIDS, 64 samples a step": own_loader(64),
    "DIDS, 256 samples a step": own_loader(256),
    "DIDS, 1,024 samples a step": own_loader(1024),
    "DIDS, 4,096 samples a step": own_loader(4096),
    "DIDS in PyTorch's loader, 256": torch_loader,
    "DIDS over a datasets.Dataset, 256": arrow_loader,
    "DIDS, 256, 2 workers": own_loader(256, num_workers=2),
}
