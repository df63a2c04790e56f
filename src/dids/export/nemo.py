"""NeMo: the ``dataset`` section of a NeMo AutoModel recipe with a Megatron blend as its ``paths``.

Source: ``MegatronPretrainingConfig`` of nemo-automodel 0.7.0. The list itself is what
``PreTrainingDataModule(paths=...)`` of NeMo 2 takes too.
"""

from pathlib import Path

from dids.errors import InputError
from dids.export.blend import Blend
from dids.export.megatron import blend_list, prefix, weights_of_list
from dids.export.target import ImportedMixture, Target, entry, read_yaml, yaml_text

_CLASS = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    return {"": yaml_text({"dataset": {"_target_": _CLASS, "paths": blend_list(blend)}})}


def _read(path: Path) -> ImportedMixture:
    paths = entry(read_yaml(path), path, "dataset", "paths")
    if isinstance(paths, dict):
        paths = entry(paths, path, "train")
    if not isinstance(paths, list):
        raise InputError(
            f"{path}: 'dataset.paths' must be a list of weights and prefixes by turns."
        )
    items = [str(item) for item in paths]
    return ImportedMixture(weights_of_list(items, path, "'dataset.paths'"), "tokens")


TARGET = Target(
    name="nemo",
    title="NeMo AutoModel",
    file_name="nemo.yaml",
    unit="tokens",
    meaning="a weight is a share of the samples, which all have as many tokens.",
    write=_write,
    read=_read,
    data="own",
    place=prefix,
)
