"""Megatron-LM: a blend for ``--data-args-path``, or one a phase with a script that runs them all.

Source: ``get_blend_and_blend_per_split``, ``BlendedDataset`` and ``--phase-transition-iterations``
of megatron-core 0.19.2. The file is split at white space and has no comments; weights must be above
0. Each prefix is what ``tools/preprocess_data.py --output-prefix FOLDER/STEM`` makes of a domain's
records: its samples have all the same length, so weights are shares of tokens.
"""

import shlex
from pathlib import Path

from dids.errors import InputError
from dids.export.blend import Blend, BlendDomain, check_no_character
from dids.export.target import ImportedMixture, Target, number, read_text

_SUFFIX = "_text_document"
"""What preprocess_data.py adds to a prefix for the JSON key ``text``."""

_SCRIPT = """\
#!/bin/sh
{about}
#
# sh {name} torchrun pretrain_gpt.py ... runs phase after phase: Megatron trains to the end of one,
# saves, and exits; it needs --save and --load with the same folder, and the batch size
# that the iterations were counted with: --global-batch-size {batch_size}.
set -e
for blend in {blends}; do
  "$@" --phase-transition-iterations {iterations} --data-args-path {folder}/"$blend"
done
"""


def prefix(blend: Blend, domain: BlendDomain) -> str:
    """Where Megatron finds a domain's tokens."""
    return f"{blend.folder}/{domain.stem}{_SUFFIX}"


def blend_list(blend: Blend) -> list[str]:
    """Weights and prefixes by turns, those with a weight above 0.

    Raises:
        InputError: If a prefix has a blank.
    """
    check_no_character([blend.folder], " ", "Megatron")
    kept = blend.positive(blend.stages[-1])
    return [
        text for domain, weight in kept.pairs() for text in (repr(weight), prefix(blend, domain))
    ]


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    texts = {"": _text(blend)}
    if len(blend.stages) == 1:
        return texts
    phases = [blend.positive(stage) for stage in blend.stages]
    names = [f"phase-{number:03d}.txt" for number in range(len(phases))]
    texts |= {name: _text(phase) for name, phase in zip(names, phases, strict=True)}
    iterations = [blend.step_of(stage) for stage in blend.stages[1:]]
    if len(set(iterations)) < len(iterations) or 0 in iterations:
        raise InputError(
            f"The {len(phases)} phases do not fit into {blend.steps} steps; give more (--steps)."
        )
    texts["run-phases.sh"] = _SCRIPT.format(
        name="run-phases.sh",
        about="\n".join(f"# {line}" for line in blend.about),
        batch_size=blend.batch_size,
        blends=" ".join(names),
        iterations=",".join(map(str, iterations)),
        folder=shlex.quote(str(folder)),
    )
    return texts


def _text(blend: Blend) -> str:
    items = blend_list(blend)
    pairs = zip(items[::2], items[1::2], strict=True)
    return "".join(f"{weight} {place}\n" for weight, place in pairs)


def _read(path: Path) -> ImportedMixture:
    return ImportedMixture(weights_of_list(read_text(path).split(), path, "the blend"), "tokens")


def weights_of_list(items: list[str], path: Path, field_name: str) -> dict[str, float]:
    """The weights in a list of weights and prefixes by turns.

    Raises:
        InputError: If it is none.
    """
    if not items or len(items) % 2:
        raise InputError(
            f"{path}: {field_name} must be weights and prefixes by turns, but it has {len(items)} "
            "entries."
        )
    return {
        place: number(weight, path, field_name)
        for weight, place in zip(items[::2], items[1::2], strict=True)
    }


TARGET = Target(
    name="megatron",
    title="Megatron-LM",
    file_name="megatron-blend.txt",
    unit="tokens",
    meaning="a weight is a share of the samples, which all have as many tokens.",
    write=_write,
    read=_read,
    comment=None,
    data="own",
    place=prefix,
    takes_schedule=True,
)
