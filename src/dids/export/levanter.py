"""Levanter: ``components`` and ``train_weights`` of a run's ``data``, with the schedule.

Source: ``LmDataConfig`` and ``MixtureDataset`` of marin-levanter 0.2.227. Stages begin at steps,
and the sequences before a step must fill whole blocks; within a block every component has a whole
number of sequences, so a share below one in ``mixture_block_size`` is lost.
"""

from pathlib import Path
from typing import Any

from dids.errors import InputError
from dids.export.blend import Blend, BlendDomain, check_no_character, one_kind
from dids.export.target import ImportedMixture, Target, entry, named_weights, read_yaml, yaml_text

_LARGEST_BLOCK = 2048
"""Levanter's default. It packs a position in a block into 16 bits, so 65535 is the end."""


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    check_no_character([file for d in blend.domains for file in d.files], "{", "Levanter")
    data: dict[str, Any] = {
        "components": {domain.name: _component(domain) for domain in blend.domains}
    }
    if len(blend.stages) == 1:
        weights: Any = blend.named_weights()
        block = _LARGEST_BLOCK
    else:
        steps, block = stage_steps(blend)
        weights = [
            [step, blend.named_weights(stage)]
            for step, stage in zip(steps, blend.stages, strict=True)
        ]
    _check_not_lost(blend, block)
    data |= {
        "train_weights": weights,
        "mixture_block_size": block,
        "stop_strategy": "restart",
    }
    return {"": yaml_text({"data": data})}


def _component(domain: BlendDomain) -> dict[str, Any]:
    kind = one_kind(domain, "Levanter")
    if kind == "prompt":
        raise InputError(
            f"Domain '{domain.name}' has prompts with completions, and Levanter reads texts and "
            "chats; write the records as messages."
        )
    text = {"type": "text", "text_key": "text"}
    form = text if kind == "text" else {"type": "chat", "messages_field": "messages"}
    return {"source": {"type": "url", "train_urls": list(domain.files)}, "format": form}


def stage_steps(blend: Blend) -> tuple[list[int], int]:
    """The steps at which stages begin, moved to ends of blocks, and the size of a block.

    Returns:
        Steps, and sequences in a block: half of the shortest stage at most, so that no stage moves
        by more than a quarter of it.

    Raises:
        InputError: If stages are too short for a step, or a step is too large for a block.
    """
    begins = [stage.fraction * blend.steps for stage in blend.stages]
    shortest = min(
        after - before for before, after in zip(begins, [*begins[1:], blend.steps], strict=True)
    )
    if shortest < 1:
        raise InputError(
            f"The {len(begins)} stages do not fit into {blend.steps} steps; give more (--steps)."
        )
    if blend.batch_size >= 1 << 16:
        raise InputError(
            f"--batch-size {blend.batch_size:,} is more than Levanter's largest block of 65,535 "
            "sequences; export --weights final instead."
        )
    steps_a_block = max(1, min(int(shortest / 2), _LARGEST_BLOCK // blend.batch_size))
    steps = [int(begin / steps_a_block + 0.5) * steps_a_block for begin in begins]
    return steps, steps_a_block * blend.batch_size


def _check_not_lost(blend: Blend, block: int) -> None:
    for stage in blend.stages:
        weights = blend.named_weights(stage)
        lost = [name for name, weight in weights.items() if 0 < weight * block < 1]
        if lost:
            raise InputError(
                f"Levanter would draw nothing from {', '.join(lost)}: a share below 1/{block} is "
                "lost in blocks of that size; give longer stages (--steps, --batch-size) or "
                "--weights final."
            )


def _read(path: Path) -> ImportedMixture:
    value = read_yaml(path)
    data = value.get("data", value)
    weights = entry(data, path, "train_weights")
    if isinstance(weights, list):  # the last stage is where it ends
        weights = entry(weights, path, -1, 1)
    components = data.get("components") or data.get("configs") or {}
    files = {}
    for name, component in components.items():
        urls = (component.get("source") or component).get("train_urls")
        if urls:
            files[str(name)] = tuple(urls)
    return ImportedMixture(named_weights(weights, path, "train_weights"), "tokens", files)


TARGET = Target(
    name="levanter",
    title="Levanter",
    file_name="levanter.yaml",
    unit="tokens",
    meaning="a weight is a share of the sequences, which all have as many tokens.",
    write=_write,
    read=_read,
    takes_schedule=True,
)
