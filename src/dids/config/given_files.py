"""The sources and tasks of a new config, from the files that somebody points at."""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dids.config.schema import Name
from dids.data.byte_streams import COMPRESSIONS
from dids.data.hub import hub_name, is_hub_path
from dids.data.sources import files_of_path
from dids.errors import InputError

_SPLITS = {"validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


def given_sources(said: Iterable[str], of_tasks: Iterable[str] = ()) -> dict[str, str]:
    """Sources by name.

    Args:
        said: Each ``PATH`` or ``NAME=PATH``, a path being that of a file or folder, a glob or
            ``hf:NAME``. Without a name a source is called as its file is, and a glob is a source
            for every file.
        of_tasks: Paths of tasks, whose files a glob without a name leaves out.

    Returns:
        The path of every source.

    Raises:
        InputError: If a path names nothing, a name cannot be one, or two sources have the same.
    """
    sources: dict[str, str] = {}
    left_out = {Path(path).resolve() for path in of_tasks}
    for text in said:
        where = f"--data '{text}'"
        found = list(_sources(text, left_out))
        if not found:
            raise InputError(f"{where}: every file of it is a task's; name others.")
        for name, path in found:
            if name in sources:
                raise InputError(
                    f"{where}: two sources would be called '{name}'; name one of them otherwise, "
                    f"--data OTHER={path}."
                )
            sources[_checked(name, where, "--data NAME=PATH")] = path
    return sources


def given_tasks(said: Iterable[str]) -> dict[str, tuple[str, str | None]]:
    """Validation and test path of tasks by name; no test: the validation is halved.

    Args:
        said: Each ``NAME=VALIDATION,TEST``, one path alone (the name as of a source), or a folder
            with a file called validation and one called test.

    Raises:
        InputError: If there are no such files, a name cannot be one, or two tasks have the same.
    """
    tasks: dict[str, tuple[str, str | None]] = {}
    for text in said:
        where = f"--task '{text}'"
        name, path = _parted(text)
        validation, comma, test = path.partition(",")
        found: tuple[str, str | None]
        if comma:
            if name is None:
                raise InputError(f"{where}: it has no name; say --task NAME={path}.")
            for split in (validation, test):
                if not split:
                    raise InputError(f"{where}: it needs two paths, --task {name}=VALIDATION,TEST.")
                files_of_path(split, where)
            found = validation, test
        elif not Path(path).is_dir():
            files_of_path(path, where)
            name = name or _name_of(path)
            found = path, None
        else:
            found = _split_file(path, "validation", where), _split_file(path, "test", where)
            name = name or Path(path).resolve().name
        if name in tasks:
            raise InputError(f"{where}: there is a task '{name}' already; name one otherwise.")
        tasks[_checked(name, where, "--task NAME=VALIDATION,TEST")] = found
    return tasks


def _sources(text: str, left_out: Collection[Path]) -> Iterator[tuple[str, str]]:
    name, path = _parted(text)
    if is_hub_path(path):
        yield name or _name_of(path), path
        return
    files = files_of_path(path, f"--data '{text}'")
    if name is not None:
        yield name, path
    elif Path(path).exists():
        yield _name_of(path), path
    else:
        for file in files:
            if file.resolve() not in left_out:
                yield _stem(file), str(file)


def _name_of(path: str) -> str:
    return hub_name(path)[0].rpartition("/")[2] if is_hub_path(path) else _stem(Path(path))


def _parted(text: str) -> tuple[str | None, str]:
    name, sign, path = text.partition("=")
    return (None, text) if not sign or _names_files(text) else (name, path)


def _names_files(path: str) -> bool:
    try:
        return bool(files_of_path(path, path))
    except InputError:
        return False


def _stem(path: Path) -> str:
    """``web`` of ``web.jsonl.gz``; a folder's own name.

    Example:
        >>> _stem(Path("data/chats.v2.parquet"))
        'chats.v2'
    """
    name = path.resolve().name
    if path.is_dir():
        return name
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).stem


def _split_file(path: str, split: str, where: str) -> str:
    folder = Path(path)
    asked = "say --task NAME=VALIDATION,TEST, or a folder with one file called"
    found = sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and re.split(r"[.\-_]", file.name.lower())[0] in _SPLITS[split]
    )
    if len(found) != 1:
        raise InputError(
            f"{where}: {folder} has {len(found)} files called {split}; {asked} {split}."
        )
    return str(found[0])


def _checked(name: str, where: str, otherwise: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: '{name}': {message}; say {otherwise}.") from None
