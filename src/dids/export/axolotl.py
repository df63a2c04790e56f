"""Axolotl: ``datasets`` with a ``weight``, the fraction of each file's records that is kept.

Source: ``SFTDataset.weight`` and ``_load_and_process_single_dataset`` of axolotl 0.21.0 (older
versions have no weights). A fraction is at most 1, so the domain that is drawn from most often for
its size is taken whole and the others are thinned: ``weight ∝ share of records / records``.
"""

from os.path import commonpath
from pathlib import Path
from typing import Any

from dids.export.blend import Blend, BlendDomain, one_kind, rounded
from dids.export.record_count import num_records
from dids.export.target import (
    ImportedMixture,
    Target,
    entries,
    entry,
    first_file,
    number,
    read_yaml,
    yaml_text,
)

_PLAIN = "{instruction}"
_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "completion", "field": "text"},
    "messages": {"type": "chat_template", "field_messages": "messages"},
    "prompt": {
        "type": {
            "field_instruction": "prompt",
            "field_output": "completion",
            "format": _PLAIN,
            "no_input_format": _PLAIN,
        }
    },
}


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    rates = [weight / domain.records for domain, weight in blend.pairs()]
    datasets = [
        {
            **_place(domain),
            **_TYPES[one_kind(domain, "Axolotl")],
            "weight": rounded(rate / max(rates)),
        }
        for domain, rate in zip(blend.domains, rates, strict=True)
    ]
    return {"": yaml_text({"datasets": datasets, "seed": blend.seed})}


def _place(domain: BlendDomain) -> dict[str, Any]:
    if len(domain.files) == 1:
        return {"path": domain.files[0], "ds_type": domain.data_format, "split": "train"}
    return {
        "path": commonpath([str(Path(file).parent) for file in domain.files]),
        "data_files": list(domain.files),
        "ds_type": domain.data_format,
        "split": "train",
    }


def _read(path: Path) -> ImportedMixture:
    weights, files = {}, {}
    for position, dataset in enumerate(entries(read_yaml(path), path, "datasets")):
        where = f"datasets.{position}"
        named = dataset.get("data_files") or entry(dataset, path, "path")
        places = tuple([named] if isinstance(named, str) else named)
        fraction = number(dataset.get("weight", 1.0), path, f"{where}.weight")
        weights[places[0]] = fraction * num_records(places, path)
        files[places[0]] = places
    return ImportedMixture(weights, "records", files)


TARGET = Target(
    name="axolotl",
    title="Axolotl",
    file_name="axolotl.yaml",
    unit="records",
    meaning="a weight is the fraction of the file's records that an epoch trains on, at most 1.",
    write=_write,
    read=_read,
    place=first_file,
)
