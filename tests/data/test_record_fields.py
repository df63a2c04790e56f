"""What makes a record, and the sentence each bad one gets."""

import pytest

from dids.data.record_fields import RecordError, record_from_fields
from dids.data.records import Message, Origin

HERE = Origin("file.jsonl", 3)
USER = {"role": "user", "content": "Hi"}


def record(fields, purpose="train"):
    return record_from_fields(fields, HERE, purpose)


def test_a_text_a_chat_and_a_prompt_are_records():
    assert record({"text": "Hello"}).text == "Hello"
    assert record({"prompt": "2+2", "completion": "4"}).completion == "4"
    chat = record({"messages": [USER, {"role": "assistant", "content": "Ho"}]})
    assert chat.messages == (Message("user", "Hi"), Message("assistant", "Ho"))
    assert chat.origin == HERE


def test_content_may_be_a_list_of_text_parts():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    chat = record({"messages": [USER, {"role": "assistant", "content": parts}]})
    assert chat.messages[1].content == "ab"


def test_null_counts_as_absent_and_other_fields_are_ignored():
    assert record({"text": "Hello", "prompt": None, "id": 7}).prompt is None


def test_messages_come_before_prompt_and_prompt_before_text():
    chat = [USER, {"role": "assistant", "content": "Ho"}]
    assert record({"text": "t", "prompt": "p", "messages": chat}).messages is not None
    assert record({"text": "t", "prompt": "p", "completion": "c"}).text is None


def test_the_right_choice_is_the_completion():
    assert record({"prompt": "p", "choices": ["a", "b"], "answer": 1}).completion == "b"


def test_a_task_may_have_a_prompt_alone():
    assert record({"prompt": "Write a poem."}, "task").completion is None


BAD = [
    ({}, ["no field", "text, messages, prompt"]),
    ({"txt": "Hello", "id": 1}, ["'txt', 'id'", "did you mean 'text' for 'txt'"]),
    ({"message": []}, ["did you mean 'messages' for 'message'"]),
    ({"conversations": []}, ["none of the fields", "'conversations'"]),
    ({"text": None}, ["'text' (null)"]),
    ({"text": 5}, ["'text'", "must be a string", "number 5"]),
    ({"text": ["a"]}, ["'text'", "a list of 1"]),
    ({"text": True}, ["'text'", "boolean true"]),
    ({"text": ""}, ["'text' is empty"]),
    ({"text": " \n"}, ["'text' is empty"]),
    ({"text": "\ud800"}, ["'text'", "surrogate"]),
    ({"prompt": "p"}, ["'completion' is missing"]),
    ({"prompt": "p", "completion": ""}, ["'completion' is empty"]),
    ({"prompt": "", "completion": "c"}, ["'prompt' is empty"]),
    ({"prompt": [USER], "completion": "c"}, ["'prompt' must be a string"]),
    ({"prompt": "p", "choices": ["a", "b"]}, ["'answer'", "0 to 1", "missing"]),
    ({"prompt": "p", "choices": ["a", "b"], "answer": 2}, ["'answer'", "0 to 1", "2"]),
    ({"prompt": "p", "choices": ["a", "b"], "answer": -1}, ["'answer'", "-1"]),
    ({"prompt": "p", "choices": ["a", "b"], "answer": "A"}, ["'answer'", "'A'"]),
    ({"prompt": "p", "choices": ["a", "b"], "answer": True}, ["'answer'", "True"]),
    ({"prompt": "p", "choices": ["a"], "answer": 0}, ["'choices'", "two strings or more"]),
    ({"prompt": "p", "choices": "ab", "answer": 0}, ["'choices'", "the string 'ab'"]),
    ({"prompt": "p", "choices": ["a", 1], "answer": 0}, ["'choices[1]'", "number 1"]),
    (
        {"prompt": "p", "completion": "a", "choices": ["a", "b"], "answer": 1},
        ["'completion'", "choices[1]", "'b'"],
    ),
    ({"messages": "Hi"}, ["'messages' must be a list"]),
    ({"messages": []}, ["assistant"]),
    ({"messages": [USER]}, ["'messages'", "assistant"]),
    ({"messages": ["Hi"]}, ["'messages[0]' must be an object"]),
    ({"messages": [{"role": "bot", "content": "x"}]}, ["'messages[0].role'", "'bot'", "assistant"]),
    ({"messages": [{"content": "x"}]}, ["'messages[0].role'", "None"]),
    ({"messages": [USER, {"role": "assistant"}]}, ["'messages[1].content'", "null"]),
    (
        {"messages": [USER, {"role": "assistant", "content": ""}]},
        ["'messages[1].content' is empty"],
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
        ["'messages[0].content[0]'", "only text"],
    ),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_a_bad_record_gets_a_sentence_that_names_field_and_rule(fields, words):
    with pytest.raises(RecordError) as caught:
        record(fields)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_completion_is_bad_in_a_task_too():
    with pytest.raises(RecordError, match=r"'completion' is empty"):
        record({"prompt": "p", "completion": ""}, "task")
