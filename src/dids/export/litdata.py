"""LitData and LitGPT: a module with a ``CombinedStreamingDataset`` over the domains' folders.

Source: ``CombinedStreamingDataset`` and ``TokensLoader`` of litdata 0.2.76; LitGPT 0.5.13 mixes so
in ``litgpt/data/tinyllama.py``. The items are blocks of tokens, so weights are shares of tokens.
"""

from pathlib import Path

from dids.export.blend import Blend
from dids.export.python_module import assignment, module_weights
from dids.export.target import ImportedMixture, Target

_CODE = '''

def train_dataset(block_size):
    """The mixture in blocks of tokens; it ends when the first domain ends.

    LitGPT asks for one token more than a sequence: block_size = max_seq_length + 1.
    """
    domains = [
        StreamingDataset(
            FOLDERS[name],
            item_loader=TokensLoader(block_size=block_size),
            shuffle=True,
            drop_last=True,
            seed=SEED,
        )
        for name in WEIGHTS
    ]
    return CombinedStreamingDataset(
        domains, weights=list(WEIGHTS.values()), iterate_over_all=False, seed=SEED
    )
'''


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    constants = {
        "WEIGHTS": blend.named_weights(),
        "FOLDERS": {d.name: f"{blend.folder}/{d.stem}" for d in blend.domains},
        "SEED": blend.seed,
    }
    imports = "CombinedStreamingDataset, StreamingDataset, TokensLoader"
    parts = [f"from litdata import {imports}\n"]
    parts += [assignment(name, value) for name, value in constants.items()]
    return {"": "\n".join(parts) + "\n" + _CODE}


def _read(path: Path) -> ImportedMixture:
    return ImportedMixture(module_weights(path), "tokens")


TARGET = Target(
    name="litdata",
    title="LitData",
    file_name="lit_mixture.py",
    unit="tokens",
    meaning="a weight is the probability that the next block of tokens comes from a domain.",
    write=_write,
    read=_read,
    data="own",
)
