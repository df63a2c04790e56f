"""A tokenizer that takes milliseconds to make."""

from functools import cache

from dids.data.tokenizer import train_tokenizer


@cache
def words_tokenizer():
    return train_tokenizer(iter(["a few words and more of them", "some text of number"] * 20), 300)
