"""The records of the hard setting, drawn from the instruct pack: the same at every call.

The sources that match a task (gsm8k_train, mathqa_dev, physical_howto, medical_qa) are left out.
"""

import gzip
import random
from collections.abc import Iterable
from pathlib import Path

from dids.atomic import write_text

UNLIKE = (
    "chinese_poems", "code_functions", "entailment_rewrite", "intent_labels", "open_instructions",
    "table_to_text", "task_dialog", "text2sql", "translation",
)  # fmt: skip
"""Real sources that no task resembles."""
USEFUL = ("commonsense_ecqa", "list_programs", "science_mcq", "yesno_facts")
"""What comes nearest to the tasks."""
JUNK = ("boilerplate", "shuffled_words")
NUM_UNLIKE, NUM_USEFUL = 1_000, 150
"""Records of each source."""
JUNK_SHARE = 0.3
"""Of all records."""


def write_hard_data(pack: Path, folder: Path) -> Path:
    """Write ``mixed.jsonl`` and ``scarce.jsonl`` unless they are there.

    Args:
        pack: Folder of the instruct pack.
        folder: Where the files go.

    Returns:
        The folder.
    """
    num_real = len(UNLIKE) * NUM_UNLIKE + len(USEFUL) * NUM_USEFUL
    num_junk = round(num_real * JUNK_SHARE / (1.0 - JUNK_SHARE) / len(JUNK))
    mixed = [line for name in UNLIKE for line in _drawn(pack, name, NUM_UNLIKE)]
    mixed += [line for name in JUNK for line in _drawn(pack, name, num_junk)]
    scarce = [line for name in USEFUL for line in _drawn(pack, name, NUM_USEFUL)]
    _write(folder / "mixed.jsonl", mixed)
    _write(folder / "scarce.jsonl", scarce)
    return folder


def _drawn(pack: Path, name: str, number: int) -> list[str]:
    """Records of a source, drawn with a seed of its own."""
    with gzip.open(pack / "train" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[:-1]  # a record may hold other ends of lines
    return random.Random(name).sample(lines, number)


def _write(path: Path, lines: Iterable[str]) -> None:
    if not path.exists():
        shuffled = sorted(lines)
        random.Random(path.name).shuffle(shuffled)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(f"{line}\n" for line in shuffled))
