"""LLaMA-Factory: ``interleave_probs`` over data sets that ``dataset_info.json`` describes.

Source: ``DataArguments``, ``get_dataset_list`` and ``merge_dataset`` of llamafactory 0.9.5. With
``interleave_over`` a probability of 0 would never end, so such domains are left out before.
"""

import json
from pathlib import Path
from typing import Any

from dids.errors import InputError
from dids.export.blend import Blend, BlendDomain, check_no_character, one_kind
from dids.export.target import ImportedMixture, Target, entry, paired_weights, read_yaml, yaml_text

_INFO = "dataset_info.json"
_FORMS: dict[str, dict[str, Any]] = {
    "text": {"columns": {"prompt": "text"}},
    "prompt": {"columns": {"prompt": "prompt", "response": "completion"}},
    "messages": {
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "observation_tag": "tool",
            "system_tag": "system",
        },
    },
}


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    check_no_character(blend.names, ",", "LLaMA-Factory")
    for name in blend.names:
        if name != name.strip():
            raise InputError(
                f"Domain '{name}' begins or ends with a blank, which LLaMA-Factory drops; rename "
                "its source."
            )
    settings = {
        "dataset_dir": str(folder),
        "dataset": ",".join(blend.names),
        "mix_strategy": "interleave_over",
        "interleave_probs": ",".join(map(repr, blend.weights())),
        "seed": blend.seed,
    }
    info = {domain.name: _data_set(domain) for domain in blend.domains}
    text = json.dumps(info, ensure_ascii=False, indent=2)
    return {"": yaml_text(settings), _INFO: f"{text}\n"}


def _data_set(domain: BlendDomain) -> dict[str, Any]:
    return {"file_name": domain.files[0], **_FORMS[one_kind(domain, "LLaMA-Factory")]}


def _read(path: Path) -> ImportedMixture:
    settings = read_yaml(path)
    names = _items(entry(settings, path, "dataset"))
    if "interleave_probs" in settings:
        values = _items(settings["interleave_probs"])
    else:
        raise InputError(f"{path}: the field 'interleave_probs' is missing; nothing weighs there.")
    weights = paired_weights(names, values, path, "interleave_probs")
    return ImportedMixture(weights, "records", _files(settings, path, names))


def _items(value: Any) -> list[str]:  # noqa: ANN401
    items = value if isinstance(value, list) else str(value).split(",")
    return [str(item).strip() for item in items]


def _files(settings: dict[str, Any], path: Path, names: list[str]) -> dict[str, tuple[str, ...]]:
    folder = path.parent / str(settings.get("dataset_dir", "data"))
    if not (folder / _INFO).exists():
        return {}
    info = read_yaml(folder / _INFO)
    found = {name: info.get(name) or {} for name in names}
    return {
        name: (str(folder / data_set["file_name"]),)
        for name, data_set in found.items()
        if "file_name" in data_set
    }


TARGET = Target(
    name="llamafactory",
    title="LLaMA-Factory",
    file_name="llamafactory.yaml",
    unit="records",
    meaning="interleave_probs are the probabilities that the next record comes from a data set.",
    write=_write,
    read=_read,
    takes_several_files=False,
)
