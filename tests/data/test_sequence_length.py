"""Nothing is longer than asked, texts lose nothing but a last token, completions stay whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dids.data.rendering import EncodedRecord
from dids.data.sequence_length import fit_to_length

sizes = st.integers(0, 40)
prefixes = st.integers(0, 2)


def text(size, prefix):
    ids = list(range(size + prefix))
    return EncodedRecord(ids, [False] * prefix + [True] * size, prefix, is_text=True)


def chat(prompt, completion, prefix):
    ids = list(range(prefix + prompt + completion))
    is_scored = [False] * (prefix + prompt) + [True] * completion
    return EncodedRecord(ids, is_scored, prefix)


@given(size=sizes, prefix=prefixes, room=st.integers(2, 12))
def test_the_pieces_of_a_text_are_the_text(size, prefix, room):
    whole = text(size, prefix)
    pieces = fit_to_length(whole, prefix + room)
    joined = [token for piece in pieces for token in piece.token_ids[prefix:]]
    body = whole.token_ids[prefix:]
    assert joined == body[: len(joined)]
    assert len(body) - len(joined) <= (1 if prefix == 0 else 0)
    for piece in pieces:
        assert piece.token_ids[:prefix] == whole.token_ids[:prefix]
        assert 2 <= len(piece.token_ids) <= prefix + room
        assert sum(piece.is_scored) == len(piece.token_ids) - max(prefix, 1)
        assert not piece.is_scored[0]
    assert all(len(piece.token_ids) == prefix + room for piece in pieces[:-1])


@given(prompt=sizes, completion=sizes, prefix=prefixes, room=st.integers(2, 30))
def test_a_chat_is_cut_from_the_left_of_its_prompt_first(prompt, completion, prefix, room):
    whole = chat(prompt, completion, prefix)
    (cut,) = fit_to_length(whole, prefix + room)
    assert cut.token_ids[:prefix] == whole.token_ids[:prefix]
    assert len(cut.token_ids) == prefix + min(room, prompt + completion)
    body = cut.token_ids[prefix:]
    assert body == list(range(body[0], body[0] + len(body))) if body else True
    context = min(prompt, 1)
    if completion + context <= room:
        assert body[-1:] == whole.token_ids[prefix:][-1:]
        assert sum(cut.is_scored) == completion - (prompt + prefix == 0 < completion)
    elif completion:
        assert sum(cut.is_scored) == room - context - (prompt + prefix == 0)
    for token, is_scored in zip(cut.token_ids, cut.is_scored, strict=True):
        assert is_scored == (whole.is_scored[token] and token != cut.token_ids[0])


def test_what_fits_is_left_alone():
    whole = chat(3, 4, 1)
    assert fit_to_length(whole, 8) == [whole]


def test_a_text_of_one_token_gives_nothing():
    assert fit_to_length(text(1, 0), 8) == []
    assert fit_to_length(text(0, 0), 8) == []
    assert len(fit_to_length(text(1, 1), 8)) == 1  # the prefix is its context


def test_later_answers_go_first():
    several = EncodedRecord(
        list(range(9)), [False, False, True, False, True, True, False, True, True]
    )
    (cut,) = fit_to_length(several, 5)
    assert cut.token_ids == [1, 2, 3, 4, 5]


def test_a_length_without_room_is_refused():
    with pytest.raises(ValueError, match=r"at least 3 with this tokenizer, but it is 2"):
        fit_to_length(text(4, 1), 2)
