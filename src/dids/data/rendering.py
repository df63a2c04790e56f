"""A record becomes token ids, each of them scored or not.

Strings are tokenised piece by piece, a piece being all scored or all unscored, so the mask is
exact: no token straddles prompt and completion. Scored are a text as a whole and in a chat the
assistant's turns; a prompt never. The end marker after an answer is scored where a model learns
from the record, because it must learn to stop, but not where the record judges an answer.

A tokenizer without a chat template gets `DEFAULT_CHAT_TEMPLATE`: every turn begins with who speaks,
and the assistant's end with the end-of-text token. Without the marks nothing says where a prompt of
several lines ends and the answer begins, and models went on with anything at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from dids.data.records import Message, Record
from dids.errors import InputError

PromptFormat = Literal["chat", "plain"]
"""``chat``: a prompt is a user's turn and the completion the answer. ``plain``: verbatim, one
after the other."""

DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content }}"
    "{{ eos_token if message.role == 'assistant' else '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
"""What is done where the tokenizer brings no template of its own, in the form of one; tokenizers
trained here bring it, with the marks as tokens."""

_ANSWER_CUE = "<|assistant|>\n"


@dataclass(frozen=True)
class Segment:
    """A string that is scored as a whole or not at all."""

    text: str
    is_scored: bool
    is_ended: bool = False
    """Whether the end-of-text token follows, scored like the text."""


@dataclass(frozen=True)
class EncodedRecord:
    """Token ids and which of them count in the loss."""

    token_ids: list[int]
    is_scored: list[bool]
    num_prefix: int = 0
    """How many ids in front the tokenizer puts before every sequence (such as a begin token)."""
    is_text: bool = False
    """A text may be cut into pieces; a chat is one sample."""


def encode_record(
    record: Record,
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_format: PromptFormat = "chat",
    score_ends: bool = True,
) -> EncodedRecord:
    """The token ids of one record, of any length.

    Args:
        record: The record.
        tokenizer: Any tokenizer of ``transformers``.
        prompt_format: What is made of ``prompt`` and ``completion``.
        score_ends: Whether the end markers after answers count in the loss.

    Returns:
        The encoded record. A record to generate from has nothing scored.

    Raises:
        InputError: If the tokenizer's chat template refuses the record.
    """
    return encode_records([record], tokenizer, prompt_format=prompt_format, score_ends=score_ends)[
        0
    ]


def encode_records(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_format: PromptFormat = "chat",
    score_ends: bool = True,
) -> list[EncodedRecord]:
    """The token ids of many records: one call of the tokenizer for all, several times faster.

    Args:
        records: The records.
        tokenizer: Any tokenizer of ``transformers``.
        prompt_format: What is made of ``prompt`` and ``completion``.
        score_ends: Whether the end markers after answers count in the loss. Of a text the end is
            part of it and always counts.

    Returns:
        What `encode_record` returns, for each.

    Raises:
        InputError: If the tokenizer's chat template refuses a record.
    """
    segments = [record_segments(record, tokenizer, prompt_format) for record in records]
    if not score_ends:
        segments = [
            _with_unscored_ends(record, parts)
            for record, parts in zip(records, segments, strict=True)
        ]
    is_text = [record.text is not None for record in records]
    return _encoded(segments, tokenizer, is_text)


def encode_prompt_and_completion(
    prompt: str,
    completion: str,
    tokenizer: PreTrainedTokenizerBase,
    prompt_format: PromptFormat = "chat",
    *,
    with_end: bool = True,
) -> EncodedRecord:
    """A prompt with one of its possible completions; the completion alone is scored.

    Args:
        prompt: The prompt as the record has it, without any template.
        completion: The completion, or one of the choices.
        tokenizer: Any tokenizer of ``transformers``.
        prompt_format: How the two are joined.
        with_end: Whether the end marker belongs to the completion. Harnesses that compare choices
            leave it out.

    Returns:
        The encoded pair.
    """
    segments = _prompt_segments(prompt, completion, tokenizer, prompt_format)
    if not with_end:
        segments = [_without_end(segment, completion) for segment in segments if segment.text]
    return _encoded([segments], tokenizer, [False])[0]


def prompt_text(
    record: Record, tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat = "chat"
) -> str:
    """Everything the model reads before the completion, as one string.

    Args:
        record: The record.
        tokenizer: Any tokenizer of ``transformers``.
        prompt_format: What is made of the prompt.

    Returns:
        The rendered prompt; of a chat all before the last answer; of a text nothing.
    """
    if record.prompt is not None:
        segments = _prompt_segments(record.prompt, None, tokenizer, prompt_format)
        return "".join(segment.text for segment in segments)
    segments = record_segments(record, tokenizer, prompt_format)
    last = max(index for index, segment in enumerate(segments) if segment.is_scored)
    ends = tokenizer.eos_token or ""
    return "".join(segment.text + ends * segment.is_ended for segment in segments[:last])


def token_prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids a tokenizer puts before every sequence, such as a begin token; often none."""
    with_specials = tokenizer("a")["input_ids"]
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    for start in range(len(with_specials) - len(plain) + 1):
        if with_specials[start : start + len(plain)] == plain:
            return list(with_specials[:start])
    return []


def record_segments(
    record: Record, tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat
) -> list[Segment]:
    """The strings a record is made of, in order.

    Args:
        record: The record.
        tokenizer: Any tokenizer of ``transformers``.
        prompt_format: What is made of ``prompt`` and ``completion``.

    Returns:
        The segments, none of them tokenised yet.

    Raises:
        InputError: If the tokenizer's chat template refuses the record.
    """
    if record.text is not None:
        return [Segment(record.text, is_scored=True, is_ended=True)]
    try:
        if record.messages is not None:
            return _chat_segments(record.messages, tokenizer)
        return _prompt_segments(record.prompt or "", record.completion, tokenizer, prompt_format)
    except (TemplateError, TypeError, ValueError) as error:
        raise InputError(
            f"{record.origin}: the tokenizer's chat template refuses the record ({error})."
        ) from error


def _prompt_segments(
    prompt: str,
    completion: str | None,
    tokenizer: PreTrainedTokenizerBase,
    prompt_format: PromptFormat,
) -> list[Segment]:
    if prompt_format == "plain":
        segments = [Segment(prompt, is_scored=False)]
        if completion is not None:
            segments.append(Segment(completion, is_scored=True, is_ended=True))
        return segments
    question = Message("user", prompt)
    if completion is not None:
        return _chat_segments((question, Message("assistant", completion)), tokenizer)
    if _is_default(tokenizer):
        return [*_default_chat_segments((question,)), Segment(_ANSWER_CUE, is_scored=False)]
    return [Segment(_rendered((question,), tokenizer, is_answer_next=True), is_scored=False)]


def _chat_segments(
    messages: tuple[Message, ...], tokenizer: PreTrainedTokenizerBase
) -> list[Segment]:
    if _is_default(tokenizer):
        return _default_chat_segments(messages)
    whole = _rendered(messages, tokenizer)
    segments, cursor = [], 0
    for index, message in enumerate(messages):
        if message.role == "assistant":
            start, stop = _answer_span(whole, messages, index, tokenizer, cursor)
            segments.append(Segment(whole[cursor:start], is_scored=False))
            segments.append(Segment(whole[start:stop], is_scored=True))
            cursor = stop
    segments.append(Segment(whole[cursor:], is_scored=False))
    return [segment for segment in segments if segment.text]


def _is_default(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether `DEFAULT_CHAT_TEMPLATE` holds; it needs no rendering."""
    return tokenizer.chat_template in (None, DEFAULT_CHAT_TEMPLATE)


def _default_chat_segments(messages: tuple[Message, ...]) -> list[Segment]:
    segments = []
    for message in messages:
        if message.role == "assistant":
            segments.append(Segment(_ANSWER_CUE, is_scored=False))
            segments.append(Segment(message.content, is_scored=True, is_ended=True))
        else:
            turn = f"<|{message.role}|>\n{message.content}\n"
            segments.append(Segment(turn, is_scored=False))
    return segments


def _answer_span(
    whole: str,
    messages: tuple[Message, ...],
    index: int,
    tokenizer: PreTrainedTokenizerBase,
    cursor: int,
) -> tuple[int, int]:
    """Where an answer and its end marker stand in the rendered chat.

    As a rule from the end of "all before it and the cue to answer" to the end of "all up to it".
    Templates that render a turn otherwise once others follow (hidden reasoning is dropped) break
    that rule; there the answer's own words are looked for, and the end marker is taken from the
    shorter rendering.
    """
    upto = whole if index == len(messages) - 1 else _rendered(messages[: index + 1], tokenizer)
    if index:
        before = _rendered(messages[:index], tokenizer, is_answer_next=True)
        if len(before) >= cursor and upto.startswith(before) and whole.startswith(upto):
            return len(before), len(upto)
    else:  # templates refuse an empty chat, so the cue is taken from behind the answer
        cue = _rendered(messages[:1], tokenizer, is_answer_next=True).removeprefix(upto)
        before = whole[: whole.find(cue) + len(cue)] if cue in whole else ""
    words = messages[index].content.strip()
    start = whole.find(words, max(cursor, len(before)))
    if not whole.startswith(before) or start < 0:
        raise ValueError("it changes what came before, so an answer cannot be told from the rest")
    stop = start + len(words)
    end_marker = upto[upto.rfind(words) + len(words) :]
    return start, stop + len(end_marker) if whole.startswith(end_marker, stop) else stop


def _rendered(
    messages: tuple[Message, ...],
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_answer_next: bool = False,
) -> str:
    chat = [{"role": message.role, "content": message.content} for message in messages]
    return str(
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=is_answer_next)
    )


def _with_unscored_ends(record: Record, segments: list[Segment]) -> list[Segment]:
    """Each answer in two: its own words, and the end marker, which nothing may count."""
    if record.text is not None:
        return segments
    if record.messages is not None:
        answers = [turn.content for turn in record.messages if turn.role == "assistant"]
    else:
        answers = [record.completion or ""]
    words = iter(answers)
    parts: list[Segment] = []
    for segment in segments:
        if not segment.is_scored:
            parts.append(segment)
            continue
        answer = _without_end(segment, next(words))
        end = segment.text[len(answer.text) :]
        parts += [answer, Segment(end, is_scored=False, is_ended=segment.is_ended)]
    return parts


def _without_end(segment: Segment, completion: str) -> Segment:
    if not segment.is_scored:
        return segment
    words = completion if completion in segment.text else completion.strip()
    stop = segment.text.find(words) + len(words) if words in segment.text else len(segment.text)
    return Segment(segment.text[:stop], is_scored=True)


def _encoded(
    segments_of_records: Sequence[Sequence[Segment]],
    tokenizer: PreTrainedTokenizerBase,
    is_text: Sequence[bool],
) -> list[EncodedRecord]:
    texts = [segment.text for segments in segments_of_records for segment in segments]
    if not texts:
        return []
    ids_of_texts = iter(
        tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # texts longer than the model are cut later, on purpose
        )["input_ids"]
    )
    prefix, end = token_prefix(tokenizer), tokenizer.eos_token_id
    encoded = []
    for segments, cuttable in zip(segments_of_records, is_text, strict=True):
        ids: list[int] = []
        is_scored: list[bool] = []
        for segment in segments:
            ids += next(ids_of_texts)
            if segment.is_ended and end is not None:
                ids.append(end)
            is_scored += [segment.is_scored] * (len(ids) - len(is_scored))
        if ids[: len(prefix)] != prefix:  # templates often write the begin token themselves
            ids, is_scored = prefix + ids, [False] * len(prefix) + is_scored
        is_scored[: len(prefix)] = [False] * len(prefix)
        encoded.append(EncodedRecord(ids, is_scored, len(prefix), cuttable))
    return encoded
