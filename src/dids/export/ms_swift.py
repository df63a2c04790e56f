"""ms-swift: ``interleave_prob`` over files, as a config that ``swift sft FILE`` takes.

Source: ``DataArguments`` and ``load_dataset`` of ms-swift 4.6.0. It knows by itself whether records
are texts, chats or prompts with completions.
"""

from pathlib import Path

from dids.export.blend import Blend
from dids.export.target import (
    ImportedMixture,
    Target,
    entry,
    first_file,
    paired_weights,
    read_yaml,
    yaml_text,
)


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    settings = {
        "dataset": [domain.files[0] for domain in blend.domains],
        "interleave_prob": blend.weights(),
        "stopping_strategy": "all_exhausted",
        "data_seed": blend.seed,
    }
    return {"": yaml_text(settings)}


def _read(path: Path) -> ImportedMixture:
    settings = read_yaml(path)
    files = entry(settings, path, "dataset")
    values = entry(settings, path, "interleave_prob")
    files = [files] if isinstance(files, str) else files
    values = values if isinstance(values, list) else [values]
    weights = paired_weights(files, values, path, "interleave_prob")
    return ImportedMixture(weights, "records", {file: (file,) for file in files})


TARGET = Target(
    name="ms-swift",
    title="ms-swift",
    file_name="ms-swift.yaml",
    unit="records",
    meaning="interleave_prob are the probabilities that the next record comes from a file.",
    write=_write,
    read=_read,
    place=first_file,
    takes_several_files=False,
)
