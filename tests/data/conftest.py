"""Small tokenizers and files that the data tests share."""

import gzip
import json
import os
from pathlib import Path

import pytest
from small_tokenizers import CHATML, make_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def chat_tokenizer():
    return make_tokenizer(chat_template=CHATML)


@pytest.fixture
def jsonl(tmp_path):
    """Write objects (or raw bytes) as the lines of a JSONL file."""

    def write(*lines, name="records.jsonl"):
        path = tmp_path / name
        raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        content = b"".join(line + b"\n" for line in raw)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture(scope="session")
def instruct_pack():
    """The folder of real instruction data."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("DIDS_DATA", beside))
    if not (folder / "train").is_dir():
        pytest.skip(f"the instruction data is not at {folder} (set DIDS_DATA)")
    return folder
