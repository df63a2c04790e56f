"""MosaicML Streaming: ``streams`` with proportions, as LLM Foundry's configs hold them.

Source: ``Stream`` of mosaicml-streaming 0.13.0; ``build_streams`` and the callback
``curriculum_learning`` of llm-foundry 0.22.0. The streams are keyword arguments of ``Stream``.
Texts are stored as sequences of one length (``--concat_tokens``), so a share of samples is one of
tokens.
"""

from pathlib import Path
from typing import Any

from dids.export.blend import Blend
from dids.export.target import (
    ImportedMixture,
    Target,
    entry,
    named_entries,
    number,
    read_yaml,
    yaml_text,
)


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    first = blend.positive(blend.stages[0])
    value: dict[str, Any] = {"train_loader": {"dataset": _dataset(first)}}
    if len(blend.stages) > 1:
        ends = [round(stage.fraction * blend.tokens) for stage in blend.stages[1:]]
        ends.append(blend.tokens)
        begins = [0, *ends[:-1]]
        durations = [f"{end - begin}tok" for begin, end in zip(begins, ends, strict=True)]
        schedule = [
            {"duration": duration, "dataset": _dataset(blend.positive(stage))}
            for duration, stage in zip(durations[1:], blend.stages[1:], strict=True)
        ]
        value["max_duration"] = f"{blend.tokens}tok"
        value["callbacks"] = {
            "curriculum_learning": {"duration": durations[0], "schedule": schedule}
        }
    return {"": yaml_text(value)}


def _dataset(blend: Blend) -> dict[str, Any]:
    streams = {
        domain.name: {"local": f"{blend.folder}/{domain.stem}", "proportion": weight}
        for domain, weight in blend.pairs()
    }
    return {"streams": streams, "shuffle": True, "shuffle_seed": blend.seed}


def _read(path: Path) -> ImportedMixture:
    value = read_yaml(path)
    dataset = entry(value, path, "train_loader", "dataset")
    curriculum = (value.get("callbacks") or {}).get("curriculum_learning")
    if curriculum:  # the last stage is where it ends
        dataset = entry(curriculum, path, "schedule", -1, "dataset")
    streams = named_entries(dataset, path, "streams")
    weights = {
        str(name): number(entry(stream, path, "proportion"), path, f"streams.{name}.proportion")
        for name, stream in streams.items()
    }
    return ImportedMixture(weights, "tokens")


TARGET = Target(
    name="mosaicml",
    title="MosaicML Streaming",
    file_name="mosaicml.yaml",
    unit="tokens",
    meaning="a proportion is a share of the samples of an epoch, which all have as many tokens.",
    write=_write,
    read=_read,
    data="own",
    takes_schedule=True,
)
