"""torchtitan: a module that makes the config of an interleaved data loader, for texts or chats.

Source: ``InterleavedHuggingFaceTextDataLoader`` and ``InterleavedChatDataLoader`` of torchtitan
0.3.0. What they interleave is packed already, so weights are shares of tokens. torchtitan looks
data sets up by their names in lower case.
"""

from pathlib import Path

from dids.errors import InputError
from dids.export.blend import Blend, one_kind
from dids.export.python_module import assignment, module_constants, module_weights
from dids.export.target import ImportedMixture, Target

_TEXTS = '''

def dataloader():
    """For the field dataloader of a Trainer.Config."""
    for stem, files in FILES.items():
        DATASETS[stem] = DatasetConfig(
            path=FORMATS[stem],
            loader=partial(load_dataset, data_files=files, split="train"),
            sample_processor=itemgetter("text"),
        )
    sources = [HFDataSource(dataset=STEMS[name], weight=WEIGHTS[name]) for name in WEIGHTS]
    return InterleavedHuggingFaceTextDataLoader.Config(sources=sources, seed=SEED)
'''
_CHATS = '''

def messages(sample):
    """The turns of a record; torchtitan takes one question and its answer."""
    if sample.get("messages"):
        return sample["messages"]
    return [
        {"role": "user", "content": sample["prompt"]},
        {"role": "assistant", "content": sample["completion"]},
    ]


def dataloader():
    """For the field dataloader of a Trainer.Config."""
    sources = [
        ChatDataSource(
            dataset_path=FORMATS[STEMS[name]],
            load_dataset_kwargs={"data_files": FILES[STEMS[name]], "split": "train"},
            sample_processor=messages,
            weight=WEIGHTS[name],
        )
        for name in WEIGHTS
    ]
    return InterleavedChatDataLoader.Config(sources=sources, seed=SEED)
'''
_TEXT_IMPORTS = """\
from functools import partial
from operator import itemgetter

from datasets import load_dataset
from torchtitan.hf_datasets import DatasetConfig
from torchtitan.hf_datasets.text_datasets import (
    DATASETS,
    HFDataSource,
    InterleavedHuggingFaceTextDataLoader,
)
"""
_CHAT_IMPORTS = """\
from torchtitan.hf_datasets.text_datasets import ChatDataSource, InterleavedChatDataLoader
"""


def _write(blend: Blend, folder: Path) -> dict[str, str]:
    del folder  # one file is all
    are_texts = {one_kind(domain, "torchtitan") == "text" for domain in blend.domains}
    if len(are_texts) > 1:
        raise InputError(
            "Some domains are texts and others chats or prompts, and torchtitan's loaders take one "
            "or the other; export them from runs of their own."
        )
    stems = {domain.name: f"dids-{domain.stem}".lower() for domain in blend.domains}
    constants = {
        "WEIGHTS": blend.named_weights(),
        "STEMS": stems,
        "FILES": {stems[domain.name]: list(domain.files) for domain in blend.domains},
        "FORMATS": {stems[domain.name]: domain.data_format for domain in blend.domains},
        "SEED": blend.seed,
    }
    imports, code = (_TEXT_IMPORTS, _TEXTS) if are_texts == {True} else (_CHAT_IMPORTS, _CHATS)
    parts = [imports, *(assignment(name, value) for name, value in constants.items())]
    return {"": "\n".join(parts) + "\n" + code}


def _read(path: Path) -> ImportedMixture:
    constants = module_constants(path)
    stems, files = constants.get("STEMS", {}), constants.get("FILES", {})
    by_name = {name: tuple(files[stem]) for name, stem in stems.items() if stem in files}
    return ImportedMixture(module_weights(path), "tokens", by_name)


TARGET = Target(
    name="torchtitan",
    title="torchtitan",
    file_name="torchtitan_mixture.py",
    unit="tokens",
    meaning="a weight is the probability that the next packed sequence comes from a domain.",
    write=_write,
    read=_read,
)
