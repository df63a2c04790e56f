"""Generated exercises: each source drills one skill, each task needs skills that sources teach.

Which source helps which task follows from how they are made, so an impact estimate can be read:
``sorted_words`` helps ``sort_and_reverse``, ``noise`` helps nothing.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

Exercise = Callable[[random.Random], tuple[str, str]]

NUM_TRAINING = 3_000
NUM_HELD_OUT = 400
_WORDS = (
    "apple", "bread", "chair", "dance", "eagle", "flame", "grape", "house", "ivory", "jelly",
    "knife", "lemon", "mouse", "night", "ocean", "paper", "queen", "river", "stone", "table",
    "uncle", "voice", "water", "yacht", "zebra", "cloud", "drums", "field", "glass", "honey",
)  # fmt: skip


def _words(draw: random.Random, count: int = 4) -> list[str]:
    return draw.sample(_WORDS, count)


def _added(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randrange(50), draw.randrange(50)
    return f"{a} + {b} =", f"{a + b}"


def _subtracted(draw: random.Random) -> tuple[str, str]:
    a, b = sorted((draw.randrange(100), draw.randrange(100)))
    return f"{b} - {a} =", f"{b - a}"


def _greater(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randrange(100), draw.randrange(100)
    return f"which is greater, {a} or {b}?", f"{max(a, b)}"


def _counted(draw: random.Random) -> tuple[str, str]:
    start, step = draw.randrange(40), draw.randrange(1, 5)
    numbers = [start + step * index for index in range(8)]
    return f"count on: {' '.join(map(str, numbers[:4]))}", " ".join(map(str, numbers[4:]))


def _copied(draw: random.Random) -> tuple[str, str]:
    words = _words(draw)
    return f"copy: {' '.join(words)}", " ".join(words)


def _reversed(draw: random.Random) -> tuple[str, str]:
    words = _words(draw)
    return f"reverse: {' '.join(words)}", " ".join(reversed(words))


def _sorted(draw: random.Random) -> tuple[str, str]:
    words = _words(draw)
    return f"sort: {' '.join(words)}", " ".join(sorted(words))


def _sorted_longer(draw: random.Random) -> tuple[str, str]:
    words = _words(draw, 5)
    return f"sort: {' '.join(words)}", " ".join(sorted(words))


def _spelled(draw: random.Random) -> tuple[str, str]:
    words = " ".join(_words(draw, 2))
    return f"spell: {words}", " ".join(words.replace(" ", ""))


def _shouted(draw: random.Random) -> tuple[str, str]:
    words = _words(draw, 3)
    return f"shout: {' '.join(words)}", " ".join(words).upper()


def _found(draw: random.Random) -> tuple[str, str]:
    words = _words(draw)
    wanted = draw.choice([*words, *_words(draw)])
    return f"is {wanted} in: {' '.join(words)}?", "yes" if wanted in words else "no"


def _noise(draw: random.Random) -> tuple[str, str]:
    answer = "".join(draw.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(24))
    return f"say: {' '.join(_words(draw))}", answer


def _misled(draw: random.Random) -> tuple[str, str]:
    words = _words(draw)
    draw.shuffle(words)
    return f"sort: {' '.join(words)}", " ".join(sorted(words, reverse=True))


def _sum_told(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randrange(50), draw.randrange(50)
    thing = draw.choice(_WORDS)
    return f"I have {a} {thing} and get {b} more. How many {thing}?", f"{a + b}"


def _sorted_aloud(draw: random.Random) -> tuple[str, str]:
    words = _words(draw)
    return f"sort and shout: {' '.join(words)}", " ".join(sorted(words)).upper()


def _larger_difference(draw: random.Random) -> tuple[str, str]:
    a, b = draw.randrange(100), draw.randrange(100)
    high, low = max(a, b), min(a, b)
    return f"{a} and {b}: greater, and by how much?", f"{high} {high - low}"


def _spelled_backwards(draw: random.Random) -> tuple[str, str]:
    words = " ".join(_words(draw, 2))
    return f"spell backwards: {words}", " ".join(reversed(words.replace(" ", "")))


SKILLS: dict[str, Exercise] = {
    "added_numbers": _added,
    "subtracted_numbers": _subtracted,
    "greater_number": _greater,
    "counted_on": _counted,
    "copied_words": _copied,
    "reversed_words": _reversed,
    "sorted_words": _sorted,
    "spelled_words": _spelled,
    "shouted_words": _shouted,
    "found_words": _found,
    "noise": _noise,
    "misleading_sorts": _misled,
}
"""A source each; the last two are junk and harm."""

TASKS: dict[str, Exercise] = {
    "sum_told": _sum_told,
    "sort_and_shout": _sorted_aloud,
    "greater_by": _larger_difference,
    "spell_backwards": _spelled_backwards,
    "longer_sort": _sorted_longer,
}
"""What is asked in the end."""


def write_exercises(folder: Path) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Write the exercises as JSONL, the same ones every time.

    Args:
        folder: Gets a file for each source and two for each task.

    Returns:
        Paths of the sources; of the tasks' ``validation`` and ``test``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = {
        name: _written(folder / f"{name}.jsonl", exercise, NUM_TRAINING, f"train {name}", set())
        for name, exercise in SKILLS.items()
    }
    tasks = {}
    for name, exercise in TASKS.items():
        asked: set[str] = set()
        tasks[name] = {
            split: _written(folder / f"{name}-{split}.jsonl", exercise, NUM_HELD_OUT, name, asked)
            for split in ("validation", "test")
        }
    return sources, tasks


def _written(path: Path, exercise: Exercise, count: int, seed: str, asked: set[str]) -> str:
    draw = random.Random(f"{seed} {path.name}")
    lines = []
    for _ in range(20 * count):
        prompt, completion = exercise(draw)
        if prompt not in asked:
            asked.add(prompt)
            lines.append(json.dumps({"prompt": prompt, "completion": completion}))
        if len(lines) == count:
            break
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)
