"""OLMo-core: a ``SourceMixtureList``, token ratios that sum to 1.

Source: ``SourceMixtureConfig`` of ai2-olmo-core 3.0.0. A source that has too few tokens for its
ratio of ``requested_tokens`` is refused unless ``max_repetition_ratio`` allows repeats, so that is
written as high as the exported training needs.
"""

import math
from pathlib import Path

from dids.export.blend import Blend, check_no_character
from dids.export.target import ImportedMixture, Target, entries, entry, number, read_yaml, yaml_text


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    check_no_character([blend.folder], "*", "OLMo-core")
    sources = [
        {
            "source_name": domain.name,
            "target_ratio": weight,
            "paths": [f"{blend.folder}/{domain.stem}/*.npy"],
            "max_repetition_ratio": _repetition(weight * blend.tokens / domain.tokens),
        }
        for domain, weight in blend.pairs()
    ]
    return {"": yaml_text({"sources": sources})}


def _repetition(passes: float) -> float:
    """Passes over a source that its ratio takes, with a tenth more for another tokenizer."""
    return 1.0 if passes <= 0.9 else math.ceil(passes * 11) / 10


def _read(path: Path) -> ImportedMixture:
    weights = {}
    for position, source in enumerate(entries(read_yaml(path), path, "sources")):
        where = f"sources.{position}"
        name = str(entry(source, path, "source_name"))
        weights[name] = number(entry(source, path, "target_ratio"), path, f"{where}.target_ratio")
    return ImportedMixture(weights, "tokens")


TARGET = Target(
    name="olmo-core",
    title="OLMo-core",
    file_name="olmo-core.yaml",
    unit="tokens",
    meaning="target_ratio is a share of requested_tokens; the ratios sum to 1.",
    write=_write,
    read=_read,
    data="own",
)
