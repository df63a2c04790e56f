"""TRL's command line: ``datasets`` with a ``fraction``, the share of each in the mixture.

Source: ``DatasetMixtureConfig`` and ``get_dataset`` of trl 1.16.0. Fractions are scaled to sum to
1, and the mixture is as large as it can be with no record twice: the others' last are left.
"""

from pathlib import Path

from dids.export.blend import Blend
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


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    datasets = [
        {
            "path": domain.data_format,
            "data_files": list(domain.files),
            "split": "train",
            "fraction": weight,
        }
        for domain, weight in blend.pairs()
    ]
    return {"": yaml_text({"datasets": datasets})}


def _read(path: Path) -> ImportedMixture:
    weights, files = {}, {}
    for position, dataset in enumerate(entries(read_yaml(path), path, "datasets")):
        where = f"datasets.{position}"
        named = dataset.get("data_files")
        places = (named,) if isinstance(named, str) else tuple(named or ())
        key = places[0] if places else str(entry(dataset, path, "path"))
        weights[key] = number(entry(dataset, path, "fraction"), path, f"{where}.fraction")
        files[key] = places or (f"hf:{key}",)
    return ImportedMixture(weights, "records", files)


TARGET = Target(
    name="trl",
    title="TRL",
    file_name="trl.yaml",
    unit="records",
    meaning="fractions are shares of the mixture's records; no record is taken twice.",
    write=_write,
    read=_read,
    place=first_file,
)
