"""Hugging Face ``datasets``: a module that calls ``interleave_datasets`` with probabilities.

Source: ``interleave_datasets`` of datasets 5.2.0. What it gives is what ``SFTTrainer`` of TRL and
the Trainer take as ``train_dataset``.
"""

from pathlib import Path

from dids.export.blend import Blend
from dids.export.python_module import assignment, module_constants, module_weights
from dids.export.target import ImportedMixture, Target

_CODE = '''

def train_dataset(streaming=False):
    """The mixture, for SFTTrainer(train_dataset=...) or a loop of your own.

    A domain that comes to its end begins again; the mixture ends with the last domain's first end.
    """
    domains = [
        load_dataset(FORMATS[name], data_files=FILES[name], split="train", streaming=streaming)
        for name in WEIGHTS
    ]
    return interleave_datasets(
        domains,
        probabilities=list(WEIGHTS.values()),
        seed=SEED,
        stopping_strategy="all_exhausted",
    )
'''


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    constants = {
        "WEIGHTS": blend.named_weights(),
        "FILES": {domain.name: list(domain.files) for domain in blend.domains},
        "FORMATS": {domain.name: domain.data_format for domain in blend.domains},
        "SEED": blend.seed,
    }
    parts = ["from datasets import interleave_datasets, load_dataset\n"]
    parts += [assignment(name, value) for name, value in constants.items()]
    return {"": "\n".join(parts) + "\n" + _CODE}


def _read(path: Path) -> ImportedMixture:
    files = module_constants(path).get("FILES", {})
    return ImportedMixture(
        module_weights(path), "records", {name: tuple(places) for name, places in files.items()}
    )


TARGET = Target(
    name="datasets",
    title="datasets.interleave_datasets",
    file_name="interleaved.py",
    unit="records",
    meaning="a weight is the probability that the next record comes from a domain.",
    write=_write,
    read=_read,
)
