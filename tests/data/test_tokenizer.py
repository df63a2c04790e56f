"""A trained tokenizer is lossless and repeatable; its hash follows what it does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import CHATML, make_tokenizer

from dids.data.rendering import DEFAULT_CHAT_TEMPLATE
from dids.data.tokenizer import ROLES, load_tokenizer, tokenizer_hash, train_tokenizer
from dids.errors import InputError


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_comes_back_unchanged(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_end_and_padding_are_their_own_tokens(tokenizer):
    assert tokenizer("<|endoftext|>")["input_ids"] == [tokenizer.eos_token_id]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert 261 < len(tokenizer) <= 300


def test_the_same_texts_give_the_same_tokenizer():
    texts = [f"word{i % 37} and {i * i % 101} more, once; twice!" for i in range(3000)]
    hashes = {tokenizer_hash(train_tokenizer(iter(texts), 400)) for _ in range(3)}
    assert len(hashes) == 1


def test_a_small_corpus_does_not_fill_the_vocabulary():
    assert len(train_tokenizer(iter(["ab"]), 1000)) < 300


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(InputError, match=r"vocab_size' must be at least 261.*it is 100"):
        train_tokenizer(iter(["a"]), 100)


def test_a_saved_tokenizer_is_loaded_with_the_same_hash(tmp_path):
    for template in (None, CHATML):
        made = make_tokenizer(chat_template=template)
        made.save_pretrained(tmp_path)
        loaded = load_tokenizer(str(tmp_path))
        assert tokenizer_hash(loaded) == tokenizer_hash(made)
        assert loaded.chat_template == template


def test_the_hash_ignores_earlier_calls_and_sees_every_change():
    made = make_tokenizer()
    first = tokenizer_hash(made)
    made(["a", "abc"], padding=True, truncation=True, max_length=2)
    assert tokenizer_hash(made) == first
    assert tokenizer_hash(make_tokenizer(chat_template=CHATML)) != first
    assert tokenizer_hash(make_tokenizer(eos_token="<|pad|>")) != first
    made.add_tokens(["zebra"])
    assert tokenizer_hash(made) != first


def test_padding_falls_back_to_the_end_token(tmp_path):
    make_tokenizer(pad_token=None).save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.pad_token_id == loaded.eos_token_id


def test_a_tokenizer_with_neither_is_refused(tmp_path):
    make_tokenizer(pad_token=None, eos_token=None).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"neither pad_token nor eos_token"):
        load_tokenizer(str(tmp_path))


def test_a_folder_without_a_tokenizer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=f"'{tmp_path}' cannot be loaded"):
        load_tokenizer(str(tmp_path))


def test_a_trained_tokenizer_brings_the_default_template_with_its_marks_as_tokens():
    tokenizer = train_tokenizer(iter(["one two three"] * 10), 300)
    assert tokenizer.chat_template == DEFAULT_CHAT_TEMPLATE
    chat = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    marks = [tokenizer.convert_tokens_to_ids(mark) for mark in ROLES[1:]]
    assert [token for token in ids if token in marks] == marks
    assert len(set(marks)) == 2
    assert ids[-1] == tokenizer.eos_token_id
