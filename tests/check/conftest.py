"""A tokenizer that takes milliseconds to make."""

import pytest

from dids.data.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(iter(["a few words and more of them", "some text of number"] * 20), 300)
