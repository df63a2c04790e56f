"""The corpus that every Python installation carries, read in place: ``python:PART[:SPLIT]``.

Six kinds of text lie on any machine with Python and this package's dependencies (`PARTS`). Files
are split into train, validation and test by a stable hash of their path below their root, about
80 : 10 : 10, so a file's code and its docstrings are always on the same side; the reference, which
is one file, is split by topic. ``train`` is the default, so that a part and its held-out side never
overlap; ``all`` reads everything. A text that occurs word for word on an earlier side (licences
repeat) is left out of the later one.
"""

import ast
import hashlib
import importlib.util
import os
import sysconfig
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dids.data.docstrings import module_docstrings, parsed_module, without_docstrings
from dids.data.records import Origin
from dids.errors import InputError

PREFIX = "python:"
SPLITS = ("train", "validation", "test", "all")
MAX_CHARACTERS = 200_000
"""One file's share, so that no giant header fills a domain on its own."""
MIN_CHARACTERS = 80
"""Shorter texts ("See above.") say nothing about their kind."""
RULES_VERSION = 1
"""Goes into the hash: raise it when the rules of this file change what is read."""

LEFT_OUT = {
    "test", "tests", "idlelib", "idle_test", "lib2to3", "site-packages", "dist-packages",
    "encodings", "pydoc_data", "turtledemo", "__pycache__", "_bundled", "__phello__",
}  # fmt: skip
"""Folders of the standard library whose files are no ordinary library code, or another part's."""

Text = tuple[str, int, str]
"""Key for the split, line in the file, text."""


@dataclass(frozen=True)
class Part:
    """One kind of text."""

    files: Callable[[], list[tuple[Path, Path]]]
    """All files, each with the root below which its path is hashed; sorted by that path."""
    texts: Callable[[Path, str], Iterator[Text]]
    """The texts of one file, given its path below the root."""
    needs: str
    """What would bring this part to a machine that lacks it."""
    is_by_file: bool = True
    """Whether a file is on one side as a whole."""


def is_python_path(path: str) -> bool:
    """Whether a source's path names a part of the built-in corpus."""
    return path.startswith(PREFIX)


def corpus_files(path: str) -> list[Path]:
    """The files that ``python:PART[:SPLIT]`` reads, sorted.

    Raises:
        InputError: If there is no such part, or nothing of it on this machine.
    """
    part, _, split = _named_part(path)
    files = _files(part, path)
    return [file for file, root in files if _may_hold(part, file, root, (split,))]


def corpus_hash(path: str) -> str:
    """SHA-256 over the bytes of all the part's files: other splits decide what repeats."""
    part, name, split = _named_part(path)
    digest = hashlib.sha256(f"{RULES_VERSION}:{name}:{split}".encode())
    for file, root in _files(part, path):
        digest.update(
            _key(file, root).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest()
        )
    return digest.hexdigest()


def corpus_texts(path: str) -> Iterator[tuple[Origin, str]]:
    """Yield the texts of ``python:PART[:SPLIT]``, always in the same order.

    Args:
        path: PART is one of `PARTS`, SPLIT one of `SPLITS`.

    Yields:
        Where a text stands, and the text.

    Raises:
        InputError: If there is no such part, or nothing of it on this machine.
    """
    part, _, split = _named_part(path)
    files = _files(part, path)
    earlier = SPLITS[: SPLITS.index(split)] if split != "all" else ()
    taken = {_digest(text) for _, _, text in _texts(part, files, earlier)}
    for file, line, text in _texts(part, files, (split,)):
        if _digest(text) not in taken:
            yield Origin(str(file), line), text


def _texts(
    part: Part, files: list[tuple[Path, Path]], splits: tuple[str, ...]
) -> Iterator[tuple[Path, int, str]]:
    for file, root in files:
        if _may_hold(part, file, root, splits):
            for key, line, text in part.texts(file, _key(file, root)):
                if "all" in splits or split_of(key) in splits:
                    yield file, line, text


def _may_hold(part: Part, file: Path, root: Path, splits: tuple[str, ...]) -> bool:
    """Whether a file has texts on these sides; files are only opened if so."""
    return "all" in splits or not part.is_by_file or split_of(_key(file, root)) in splits


def split_of(key: str) -> str:
    """The side that a key is on, by a hash that is the same on every machine.

    Example:
        >>> [split_of(key) for key in ("ast.py", "abc.py", "json/decoder.py")]
        ['train', 'train', 'train']
    """
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 10
    return "validation" if bucket == 8 else "test" if bucket == 9 else "train"


def _named_part(path: str) -> tuple[Part, str, str]:
    name, _, split = path.removeprefix(PREFIX).partition(":")
    split = split or "train"
    if name not in PARTS or split not in SPLITS:
        raise InputError(
            f"'{path}' is not of the form python:PART[:SPLIT], with PART one of {', '.join(PARTS)} "
            f"and SPLIT one of {', '.join(SPLITS)}."
        )
    return PARTS[name], name, split


def _files(part: Part, path: str) -> list[tuple[Path, Path]]:
    files = part.files()
    if not files:
        raise InputError(
            f"'{path}' has nothing to read on this machine; {part.needs} would bring it."
        )
    return files


def _key(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:16]


def _below(root: Path, *patterns: str) -> list[tuple[Path, Path]]:
    files = {file for pattern in patterns for file in root.glob(pattern) if file.is_file()}
    return [(file, root) for file in sorted(files, key=lambda file: _key(file, root))]


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _library_files() -> list[tuple[Path, Path]]:
    root = _standard_library()
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        files += [Path(folder, name) for name in names if name.endswith(".py")]
    # _sysconfigdata holds this machine's build settings.
    kept = [file for file in files if not file.name.startswith("_sysconfigdata")]
    return [(file, root) for file in sorted(kept, key=lambda file: _key(file, root))]


def _table_files() -> list[tuple[Path, Path]]:
    files = _below(_standard_library(), "encodings/*.py")
    return [(file, root) for file, root in files if b"decoding_" in file.read_bytes()]


def _reference_files() -> list[tuple[Path, Path]]:
    return _below(_standard_library(), "pydoc_data/topics.py")


def _header_files() -> list[tuple[Path, Path]]:
    import numpy as np

    python = sorted({Path(sysconfig.get_path(name)) for name in ("include", "platinclude")})
    found = [pair for root in python for pair in _below(root, "**/*.h")]
    if not found:  # no development files of Python: Arrow's headers are the nearest thing
        spec = importlib.util.find_spec("pyarrow")
        roots = (spec.submodule_search_locations or []) if spec else []
        found = [pair for root in roots for pair in _below(Path(root) / "include", "**/*.h")]
    return found + _below(Path(np.get_include()), "**/*.h")


def _licence_files() -> list[tuple[Path, Path]]:
    roots = sorted({Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
    names = ("LICEN[SC]E*", "COPYING*", "NOTICE*", "METADATA")
    patterns = [f"*.dist-info/{folder}{name}" for folder in ("", "**/") for name in names]
    return [
        (file, root)
        for folder in roots
        for file, root in _below(folder, *patterns)
        # This package's own text changes with every version of it.
        if not file.relative_to(root).parts[0].startswith("dids-")
    ]


def _source_text(file: Path) -> str | None:
    try:
        with tokenize.open(file) as opened:  # by the coding comment, as Python itself reads it
            return opened.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def _one_text(key: str, text: str) -> Iterator[Text]:
    if len(text) > MAX_CHARACTERS:
        text = text[: text.rfind("\n", 0, MAX_CHARACTERS) + 1] or text[:MAX_CHARACTERS]
    if len(text.strip()) >= MIN_CHARACTERS:
        yield key, 1, text


@cache
def _taken_apart(file: Path) -> tuple[str, tuple[tuple[int, str], ...]]:
    """A library file's code and docstrings, kept: a run asks for both, on three sides (8 MB)."""
    source = _source_text(file)
    tree = parsed_module(source) if source else None
    if source is None or tree is None:
        return "", ()
    return without_docstrings(source, tree), tuple(module_docstrings(tree))


def _code_texts(file: Path, key: str) -> Iterator[Text]:
    yield from _one_text(key, _taken_apart(file)[0])


def _docstring_texts(file: Path, key: str) -> Iterator[Text]:
    for line, text in _taken_apart(file)[1]:
        if len(text) >= MIN_CHARACTERS:
            yield key, line, text[:MAX_CHARACTERS]


def _table_texts(file: Path, key: str) -> Iterator[Text]:
    yield from _one_text(key, _source_text(file) or "")


def _reference_texts(file: Path, key: str) -> Iterator[Text]:
    del key  # one file: each topic is on a side of its own
    tree = parsed_module(_source_text(file) or "")
    for statement in tree.body if tree else []:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            for name, prose in zip(statement.value.keys, statement.value.values, strict=True):
                topic, text = ast.literal_eval(name or prose), ast.literal_eval(prose)
                if isinstance(text, str) and len(text) >= MIN_CHARACTERS:
                    yield str(topic), prose.lineno, text[:MAX_CHARACTERS]


def _header_texts(file: Path, key: str) -> Iterator[Text]:
    yield from _one_text(key, file.read_text("utf-8", errors="replace"))


def _licence_texts(file: Path, key: str) -> Iterator[Text]:
    text = file.read_text("utf-8", errors="replace")
    if file.name == "METADATA":  # its header is a form; the body is the package's description
        text = text.partition("\n\n")[2]
    yield from _one_text(key, text)


PARTS: dict[str, Part] = {
    "code": Part(_library_files, _code_texts, "a Python with its standard library as .py files"),
    "docstrings": Part(_library_files, _docstring_texts, "a Python with its library as .py files"),
    "reference": Part(
        _reference_files, _reference_texts, "a Python with the module pydoc_data", is_by_file=False
    ),
    "headers": Part(_header_files, _header_texts, "the package python3-dev or numpy"),
    "licences": Part(_licence_files, _licence_texts, "any package installed with pip"),
    "tables": Part(_table_files, _table_texts, "a Python with its standard library as .py files"),
}
