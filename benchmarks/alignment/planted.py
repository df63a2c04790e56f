"""A corpus whose content and format are known of every sample: six topics in four formats.

A topic is thirty words of its own, said in the same few sentence patterns; a format is everything
else: a chat, markup, another language's function words, boilerplate around the text. All samples of
a format are one source, as files usually are.
"""

import json
from pathlib import Path

import numpy as np

FORMATS = ("chat", "markup", "foreign", "boilerplate")
NUM_TOPICS = 6
_WORDS_A_TOPIC = 30
_SENTENCES = 4
_SYLLABLES = (
    "ba",
    "de",
    "fi",
    "go",
    "ku",
    "la",
    "me",
    "ni",
    "po",
    "ru",
    "sa",
    "te",
    "vi",
    "wo",
    "dra",
    "plo",
)
_ENGLISH = ("the", "of", "a", "with", "and", "is", "very", "near")
_FOREIGN = ("ol", "dum", "un", "kon", "ej", "esas", "tre", "apud")


def topic_words(num_topics: int = NUM_TOPICS + 1) -> list[list[str]]:
    """The words of every topic, none in two of them; one topic more than the corpus has."""
    generator = np.random.default_rng(0)
    words: dict[str, None] = {}
    while len(words) < num_topics * _WORDS_A_TOPIC:
        words["".join(generator.choice(_SYLLABLES, 3))] = None
    listed = list(words)
    return [listed[start::num_topics] for start in range(num_topics)]


def skewed_shares() -> np.ndarray:
    """Topics of every format, when each format prefers topics of its own."""
    share = np.array([8.0, 4.0, 2.0, 1.0, 0.5, 0.5])
    rolled = [np.roll(share, 2 * place) / share.sum() for place in range(len(FORMATS))]
    return np.stack(rolled)


def write_corpus(
    folder: Path, sizes: list[int], shares: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Write a JSONL file for each format.

    Args:
        folder: Where to.
        sizes: Samples of every format.
        shares: Row by row the topics' shares of a format.
        seed: Of everything random.

    Returns:
        ``content`` and ``format`` of every sample, in the files' order.
    """
    generator = np.random.default_rng([seed, 1])
    words, contents, formats = topic_words(), [], []
    for place, (name, size) in enumerate(zip(FORMATS, sizes, strict=True)):
        topics = generator.choice(NUM_TOPICS, size, p=shares[place])
        records = [record(name, words[topic], generator) for topic in topics]
        write_records(folder / f"{name}.jsonl", records)
        contents.append(topics)
        formats.append(np.full(size, place))
    return {"content": np.concatenate(contents), "format": np.concatenate(formats)}


def write_records(path: Path, records: list[dict[str, object]]) -> None:
    """Write JSONL."""
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records), encoding="utf-8")


def record(name: str, words: list[str], generator: np.random.Generator) -> dict[str, object]:
    """One sample of a topic in a format; ``plain`` is that of the tasks."""
    function_words = _FOREIGN if name == "foreign" else _ENGLISH
    said = [_sentence(words, function_words, generator) for _ in range(_SENTENCES)]
    if name == "chat":
        return {
            "messages": [
                {"role": "user", "content": f"Please tell me: {said[0]}?"},
                {"role": "assistant", "content": f"Sure! {'. '.join(said[1:])}. Anything else?"},
            ]
        }
    if name == "markup":
        items = "".join(f"<li><b>{each}</b></li>\n" for each in said)
        return {"text": f'<div class="item">\n<ul>\n{items}</ul>\n</div>'}
    if name == "boilerplate":
        return {
            "text": "Copyright the authors, all rights reserved. Subscribe to our newsletter.\n"
            f"{'. '.join(said)}.\nShare this page. Terms of use. Privacy policy. Contact."
        }
    if name == "plain":
        return {"prompt": f"{said[0]}:", "completion": f"{'; '.join(said[1:])}."}
    return {"text": f"{'. '.join(said)}."}


def _sentence(
    words: list[str], function_words: tuple[str, ...], generator: np.random.Generator
) -> str:
    the, of, a, with_, and_, is_, very, near = function_words
    one, two, three, four = generator.choice(words, 4)
    patterns = (
        f"{the} {one} {of} {the} {two} {is_} {very} {three}",
        f"{a} {one} {with_} {two} {and_} {three} {is_} {near} {the} {four}",
        f"{near} {the} {one} {is_} {a} {very} {two} {three}",
    )
    return patterns[generator.integers(len(patterns))]
