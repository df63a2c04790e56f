"""Records become token ids, and the mask covers the answers to the token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import CHATML, make_tokenizer
from tokenizers.processors import TemplateProcessing

from dids.data.records import Message, Origin, Record
from dids.data.rendering import (
    DEFAULT_CHAT_TEMPLATE,
    encode_prompt_and_completion,
    encode_record,
    encode_records,
    prompt_text,
    token_prefix,
)
from dids.errors import InputError

HERE = Origin("file.jsonl", 7)
END = "<|endoftext|>"
CHAT = (
    Message("system", "Be kind."),
    Message("user", "Hi"),
    Message("assistant", "Ho ho"),
    Message("user", "Again"),
    Message("assistant", "the mat"),
)
# As reasoning models do: hidden thoughts are rendered in the last answer alone.
THOUGHTFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def with_begin_token(**changes):
    tokenizer = make_tokenizer(**changes)
    begin = tokenizer.convert_tokens_to_ids("<|pad|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|pad|> $A <|endoftext|>",
        special_tokens=[("<|pad|>", begin), (END, tokenizer.eos_token_id)],
    )
    return tokenizer, begin


def parts(encoded, tokenizer):
    """The encoded string, split where the mask changes: [(text, is_scored), ...]."""
    found = []
    for token, scored in zip(encoded.token_ids, encoded.is_scored, strict=True):
        if not found or found[-1][1] != scored:
            found.append(([], scored))
        found[-1][0].append(token)
    return [(tokenizer.decode(ids), scored) for ids, scored in found]


def test_a_text_is_scored_as_a_whole_with_its_end(tokenizer):
    encoded = encode_record(Record(HERE, text="the cat"), tokenizer)
    assert parts(encoded, tokenizer) == [("the cat" + END, True)]
    assert encoded.is_text


def test_without_a_template_the_stated_default_is_used(tokenizer):
    encoded = encode_record(Record(HERE, messages=CHAT), tokenizer)
    assert parts(encoded, tokenizer) == [
        ("<|system|>\nBe kind.\n<|user|>\nHi\n<|assistant|>\n", False),
        ("Ho ho" + END, True),
        ("<|user|>\nAgain\n<|assistant|>\n", False),
        ("the mat" + END, True),
    ]
    assert not encoded.is_text


def test_the_default_is_what_its_template_renders(tokenizer):
    templated = make_tokenizer(chat_template=DEFAULT_CHAT_TEMPLATE)
    for messages in (CHAT, CHAT[1:3]):
        record = Record(HERE, messages=messages)
        assert encode_record(record, templated) == encode_record(record, tokenizer)
        assert prompt_text(record, templated) == prompt_text(record, tokenizer)
        # Regression: outside of an expression Jinja takes \\n for two characters, and as the
        # default is not rendered here, nobody saw what models were saved with.
        chat = [{"role": turn.role, "content": turn.content} for turn in messages]
        rendered = templated.apply_chat_template(chat, tokenize=False)
        assert tokenizer.decode(encode_record(record, tokenizer).token_ids) == rendered
    asked = templated.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    prompt = Record(HERE, prompt=messages[0].content)
    assert tokenizer.decode(encode_record(prompt, tokenizer).token_ids) == asked


@pytest.mark.parametrize("template", [CHATML, THOUGHTFUL])
def test_with_a_template_the_answers_and_their_end_marks_are_scored(template):
    tokenizer = make_tokenizer(chat_template=template)
    encoded = encode_record(Record(HERE, messages=CHAT), tokenizer)
    thoughts = "<think>\n\n</think>\n\n" if template == THOUGHTFUL else ""
    assert parts(encoded, tokenizer) == [
        (
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n",
            False,
        ),
        ("Ho ho<|im_end|>\n", True),
        ("<|im_start|>user\nAgain<|im_end|>\n<|im_start|>assistant\n", False),
        (thoughts + "the mat<|im_end|>\n", True),
    ]


def test_a_chat_that_the_assistant_begins_is_rendered(chat_tokenizer):
    chat = (Message("assistant", "Ho"), Message("user", "Hi"))
    assert parts(encode_record(Record(HERE, messages=chat), chat_tokenizer), chat_tokenizer) == [
        ("<|im_start|>assistant\n", False),
        ("Ho<|im_end|>\n", True),
        ("<|im_start|>user\nHi<|im_end|>\n", False),
    ]


def test_a_prompt_is_a_chat_of_two_turns_or_verbatim(tokenizer, chat_tokenizer):
    record = Record(HERE, prompt="Hi", completion="Ho")
    assert parts(encode_record(record, chat_tokenizer), chat_tokenizer) == [
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", False),
        ("Ho<|im_end|>\n", True),
    ]
    assert parts(encode_record(record, tokenizer), tokenizer) == [
        ("<|user|>\nHi\n<|assistant|>\n", False),
        ("Ho" + END, True),
    ]
    for either in (tokenizer, chat_tokenizer):
        plain = encode_record(record, either, prompt_format="plain")
        assert parts(plain, either) == [("Hi", False), ("Ho" + END, True)]


@pytest.mark.parametrize("prompt_format", ["chat", "plain"])
@pytest.mark.parametrize("template", [None, CHATML])
def test_ends_of_answers_may_be_left_unscored_with_the_same_tokens(template, prompt_format):
    tokenizer = make_tokenizer(chat_template=template)
    chat = (*CHAT, Message("user", "Again"), Message("assistant", "the mat"))
    for record in (Record(HERE, prompt="Hi", completion="Ho"), Record(HERE, messages=chat)):
        scored = encode_record(record, tokenizer, prompt_format=prompt_format)
        judged = encode_record(record, tokenizer, prompt_format=prompt_format, score_ends=False)
        assert judged.token_ids == scored.token_ids
        texts = [text for text, is_scored in parts(judged, tokenizer) if is_scored]
        answers = [turn.content for turn in chat if turn.role == "assistant"]
        assert texts == (answers if record.messages else ["Ho"])


def test_the_end_of_a_text_always_counts(tokenizer):
    text = Record(HERE, text="the cat")
    assert encode_record(text, tokenizer, score_ends=False) == encode_record(text, tokenizer)


@pytest.mark.parametrize("prompt_format", ["chat", "plain"])
@pytest.mark.parametrize("template", [None, CHATML])
def test_a_record_to_generate_from_is_the_prompt_with_nothing_scored(template, prompt_format):
    tokenizer = make_tokenizer(chat_template=template)
    whole = encode_record(
        Record(HERE, prompt="Hi", completion="Ho"), tokenizer, prompt_format=prompt_format
    )
    alone = Record(HERE, prompt="Hi")
    encoded = encode_record(alone, tokenizer, prompt_format=prompt_format)
    assert not any(encoded.is_scored)
    assert encoded.token_ids == whole.token_ids[: whole.is_scored.index(True)]
    assert prompt_text(alone, tokenizer, prompt_format) == tokenizer.decode(encoded.token_ids)


@pytest.mark.parametrize("template", [None, CHATML, THOUGHTFUL])
def test_the_prompt_of_a_chat_is_all_before_its_last_answer(template):
    tokenizer = make_tokenizer(chat_template=template)
    record = Record(HERE, messages=CHAT)
    found = parts(encode_record(record, tokenizer), tokenizer)
    assert prompt_text(record, tokenizer) == "".join(text for text, _ in found[:-1])
    assert prompt_text(Record(HERE, text="the cat"), tokenizer) == ""


@pytest.mark.parametrize("template", [None, CHATML, THOUGHTFUL])
@pytest.mark.parametrize("prompt_format", ["chat", "plain"])
def test_a_choice_is_encoded_like_a_completion(template, prompt_format):
    tokenizer = make_tokenizer(chat_template=template)
    record = Record(HERE, prompt="a question?", completion="an answer!")
    pair = encode_prompt_and_completion("a question?", "an answer!", tokenizer, prompt_format)
    assert pair == encode_record(record, tokenizer, prompt_format=prompt_format)
    bare = encode_prompt_and_completion(
        "a question?", "an answer!", tokenizer, prompt_format, with_end=False
    )
    scored = [text for text, is_scored in parts(bare, tokenizer) if is_scored]
    thoughts = "<think>\n\n</think>\n\n"
    expected = thoughts if (template, prompt_format) == (THOUGHTFUL, "chat") else ""
    assert scored == [expected + "an answer!"]
    assert bare.is_scored[-1]


def test_the_tokenizers_own_prefix_comes_first_once_and_unscored(tokenizer):
    assert token_prefix(tokenizer) == []
    begun, begin = with_begin_token()
    assert token_prefix(begun) == [begin]
    plain = encode_record(Record(HERE, text="the cat"), tokenizer)
    encoded = encode_record(Record(HERE, text="the cat"), begun)
    assert encoded.token_ids == [begin, *plain.token_ids]
    assert encoded.is_scored == [False, *plain.is_scored]
    assert encoded.num_prefix == 1


def test_a_template_that_writes_the_begin_token_does_not_get_a_second_one():
    begun, begin = with_begin_token(chat_template="<|pad|>" + CHATML)
    encoded = encode_record(Record(HERE, messages=CHAT), begun)
    assert encoded.token_ids.count(begin) == 1
    assert encoded.token_ids[0] == begin


def test_a_template_that_refuses_a_record_is_reported_with_its_place():
    strict = make_tokenizer(
        chat_template="{{ raise_exception('roles must alternate') }}", eos_token=END
    )
    with pytest.raises(InputError, match=r"file.jsonl, line 7: .*template.*roles must alternate"):
        encode_record(Record(HERE, messages=CHAT), strict)


def test_a_template_that_changes_what_came_before_is_reported():
    counting = make_tokenizer(chat_template="{{ messages | length }} messages\n" + CHATML)
    with pytest.raises(InputError, match=r"line 7: .*cannot be told from the rest"):
        encode_record(Record(HERE, messages=CHAT), counting)


def test_an_answer_that_is_a_word_of_the_template_is_found_in_its_place():
    chat = (Message("assistant", "assistant"), Message("user", "user"), Message("assistant", "i"))
    for template in (CHATML, THOUGHTFUL):
        tokenizer = make_tokenizer(chat_template=template)
        found = parts(encode_record(Record(HERE, messages=chat), tokenizer), tokenizer)
        thoughts = "<think>\n\n</think>\n\n" if template == THOUGHTFUL else ""
        assert found == [
            ("<|im_start|>assistant\n", False),
            ("assistant<|im_end|>\n", True),
            ("<|im_start|>user\nuser<|im_end|>\n<|im_start|>assistant\n", False),
            (thoughts + "i<|im_end|>\n", True),
        ]


def test_a_tokenizer_without_end_token_appends_none():
    endless = make_tokenizer(eos_token=None)
    assert parts(encode_record(Record(HERE, text="the cat"), endless), endless) == [
        ("the cat", True)
    ]


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
turns = st.tuples(st.sampled_from(["user", "assistant"]), words)
# Plain values: a checked record inside a strategy would draw from the random module.
fields = st.one_of(
    st.fixed_dictionaries({"text": words}),
    st.fixed_dictionaries({"prompt": words, "completion": words}),
    st.fixed_dictionaries({"messages": st.lists(turns, max_size=4)}),
)


def made_record(fields):
    if "messages" in fields:
        chat = (Message(*turn) for turn in fields["messages"])
        return Record(HERE, messages=(*chat, Message("assistant", "end")))
    return Record(HERE, **fields)


@given(fields_of_records=st.lists(fields, max_size=5), has_template=st.booleans())
def test_a_batch_is_the_same_as_one_at_a_time(
    tokenizer, chat_tokenizer, fields_of_records, has_template
):
    either = chat_tokenizer if has_template else tokenizer
    records = [made_record(fields) for fields in fields_of_records]
    assert encode_records(records, either) == [encode_record(record, either) for record in records]


@given(prompt=words, completion=words)
def test_the_scored_tokens_are_the_completions_own(tokenizer, prompt, completion):
    record = Record(HERE, prompt=prompt, completion=completion)
    encoded = encode_record(record, tokenizer, prompt_format="plain")
    pairs = zip(encoded.token_ids, encoded.is_scored, strict=True)
    scored = [token for token, is_scored in pairs if is_scored]
    own = tokenizer(completion, add_special_tokens=False)["input_ids"]
    assert scored == [*own, tokenizer.eos_token_id]
