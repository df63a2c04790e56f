"""Small tokenizers and files that the data tests share."""

import gzip
import json

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
