"""Rows of a hub data set, named ``hf:NAME[:CONFIG][:SPLIT]``.

The split is ``train`` unless given. With one word after the name, the words ``train``,
``validation``, ``test`` and ``dev`` (or a slice such as ``train[:1000]``) are the split and any
other is the configuration.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dids.data.records import ROWS_PER_BATCH
from dids.errors import InputError

PREFIX = "hf:"
SPLITS = ("train", "validation", "test", "dev")
_PATTERN = re.compile(
    r"hf:(?P<name>[^:]+)(?::(?P<config>[^:\[\]]*))?(?::(?P<split>[^:\[\]]+(?:\[.*\])?))?"
)


def is_hub_path(path: str) -> bool:
    """Whether a source's path names a hub data set."""
    return path.startswith(PREFIX)


def refuse_missing_folder(name: str, field: str) -> None:
    """Say of a path at once that nothing is there: the hub would be asked for it, and know no such.

    Args:
        name: Of a model or tokenizer: on the hub, or a folder.
        field: Of the config file, for the message.

    Raises:
        InputError: If it can only be a folder, and there is none.
    """
    if name.startswith(("/", "./", "../", "~")) and not Path(name).is_dir():
        raise InputError(f"{field}: there is no folder '{name}'.")


def hub_name(path: str) -> tuple[str, str | None, str]:
    """Name, configuration and split of a hub path.

    Args:
        path: ``hf:NAME[:CONFIG][:SPLIT]``.

    Returns:
        Name, configuration (None: the default one) and split.

    Raises:
        InputError: If the path has another form.

    Example:
        >>> hub_name("hf:openai/gsm8k:main:test"), hub_name("hf:imdb:train[:10]")
        (('openai/gsm8k', 'main', 'test'), ('imdb', None, 'train[:10]'))
    """
    match = _PATTERN.fullmatch(path)
    if match is None:
        raise InputError(f"'{path}' is not of the form hf:NAME[:CONFIG][:SPLIT].")
    name, config, split = match["name"], match["config"], match["split"]
    if split is None and config in SPLITS:
        config, split = None, config
    return name, config or None, split or "train"


def hub_rows(
    path: str, columns: Collection[str] | None = None
) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """The rows of a hub data set, read from its memory-mapped cache.

    Values come as they are stored: an image or a sound is bytes and a path, and nobody decodes it.

    Args:
        path: ``hf:NAME[:CONFIG][:SPLIT]``; NAME can also be a local folder that ``datasets`` reads.
        columns: Names of those whose values are wanted, as far as they are there; None: all.

    Returns:
        Names of all columns, and the rows: one mapping of column to value each.

    Raises:
        InputError: If the data set cannot be loaded.
    """
    name, config, split = hub_name(path)
    import datasets  # two seconds of import that a run on files does not need

    try:
        table = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the hub fails in many ways, and each of them is the user's to see
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"The hub data set '{path}' cannot be loaded: {reason}.") from error
    names = list(table.column_names)
    wanted = names if columns is None else [name for name in names if name in columns]
    # Without any column there would be no rows either.
    batches = table.select_columns(wanted or names[:1]).with_format("arrow").iter(ROWS_PER_BATCH)
    return names, (row for batch in batches for row in batch.to_pylist())
