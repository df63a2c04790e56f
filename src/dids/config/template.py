"""The commented config that ``dids init`` writes."""

import math
from collections.abc import Mapping

import yaml

_HEAD = """\
# What `dids run` does is all in this file. Paths are relative to the folder you run it from;
# ${NAME} and ${NAME:-default} stand for environment variables.
run: runs/first                         # the run folder; the same config goes on in it after a stop
seed: 0                                 # of everything random

data:
  sources:                              # name: file, glob, folder, hf:NAME or a list of these
"""
_SOURCES = """\
    web: data/web/*.jsonl.gz            # records with text, messages, or prompt and completion
    chat: {path: data/chat.parquet, max_repeats: 4, floor: 0.05, cap: 0.5}   # limits of its share
"""
_DATA = """\
  sequence_length: 512                  # tokens
  prompt_format: chat                   # prompt/completion records: as a chat, or plain
  on_bad_record: stop                   # or skip: counted and listed in the report

tasks:                                  # what the model should get better at
"""
_TASKS = """\
  summaries:                            # name
    validation: data/summaries/validation.jsonl   # looked at during the run
    test: data/summaries/test.jsonl               # looked at once, at the end; without one, half
                                                  # of the validation is kept for it
    weight: 1.0                                   # of it among the tasks
"""
_CHECK = """
check: {on_leak: stop, allowed_leaks: []}  # task items among the training records: stop, or warn

"""
_NEW_MODEL = """\
tokenizer: {train: {vocab_size: 8192}}  # or a hub name or a folder; without one, the model's own
model: {config: {model_type: llama, hidden_size: 256, intermediate_size: 688, num_hidden_layers: 6,
                 num_attention_heads: 4, num_key_value_heads: 2, tie_word_embeddings: true}}
                                        # or a hub name or a folder with weights
proxy: {warmup_steps: 200}              # same form as model; without one, the model itself
"""
_MODEL = """\
model:
  name: NAME
  # lora: {r: 16}                       # train adapters alone, at about ten times the learning rate
# proxy: NAME                           # a smaller model of the same tokenizer, for the features
"""
_REST = """
features: {dim: 1024}                   # gradient features of every sample
domains: {number: auto, within: source} # number: auto | N | sources (keep the sources as domains)
mixture: {policy: dids, rounds: 25}     # or uniform, proportional, …: docs/policies.md
budget: {tokens: 20_000_000}            # of training, repeats included
"""
_TRAINING = """\
training: {per_device_train_batch_size: 16, learning_rate: RATE}   # TrainingArguments' own names
control: uniform                        # a second run on the same budget to compare with, or null
"""


def config_text(
    sources: Mapping[str, str] | None = None,
    tasks: Mapping[str, tuple[str, str | None]] | None = None,
    model: str | None = None,
) -> str:
    """A commented config.

    Args:
        sources: Paths by name. None: examples.
        tasks: Validation and test path by name; no test: it is halved. None: an example.
        model: Hub name or folder of a model with weights. None: a small one without.

    Example:
        >>> "web: data/web.jsonl" in config_text({"web": "data/web.jsonl"})
        True
    """
    shown = _SOURCES
    if sources:
        shown = "".join(f"    {_scalar(name)}: {_path(path)}\n" for name, path in sources.items())
    asked = _TASKS
    if tasks:
        asked = "".join(_task(name, *paths) for name, paths in tasks.items())
    model_text = _NEW_MODEL if model is None else _MODEL.replace("name: NAME", _named(model))
    training = _TRAINING.replace("RATE", "1.0e-3" if model is None else "2.0e-5")
    return _HEAD + shown + _DATA + asked + _CHECK + model_text + _REST + training


TEMPLATE = config_text()
"""What there is without any files."""


def _task(name: str, validation: str, test: str | None) -> str:
    if test is None:
        return f"  {_scalar(name)}: {_path(validation)}   # half of it is kept for the test\n"
    paths = f"    validation: {_path(validation)}\n    test: {_path(test)}\n"
    return f"  {_scalar(name)}:\n{paths}"


def _named(model: str) -> str:
    said = f"name: {_scalar(model)}"
    return f"{said:<36}  # a hub name or a folder, with its own tokenizer"


def _path(text: str) -> str:
    """A file's path, in which nothing is taken for a variable."""
    return _scalar(text.replace("${", "$${"))


def _scalar(text: str) -> str:
    """The text as YAML that is read as the same text."""
    return yaml.safe_dump(text, allow_unicode=True, width=math.inf).removesuffix("\n...\n").rstrip()
