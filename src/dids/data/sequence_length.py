"""Encoded records cut to the model's sequence length.

The first token of a sequence has nothing before it to be predicted from, so it is never scored.
"""

from dids.data.rendering import EncodedRecord


def fit_to_length(encoded: EncodedRecord, sequence_length: int) -> list[EncodedRecord]:
    """What is left of a record when no sequence may be longer than ``sequence_length`` tokens.

    A text is cut into pieces, each with the tokenizer's own prefix; a last piece in which nothing
    can be predicted is dropped. A chat or prompt loses tokens from the left of its prompt, so
    that the completion stays whole, but for one token of context; what is still too long is cut
    at the right end.

    Args:
        encoded: The record.
        sequence_length: Greatest number of tokens, at least 2 more than the prefix has.

    Returns:
        The sequences, in order; none for a text of fewer than 2 tokens.

    Raises:
        ValueError: If ``sequence_length`` leaves no room.

    Example:
        >>> text = EncodedRecord([5, 6, 7, 8, 9], [True] * 5, is_text=True)
        >>> [piece.token_ids for piece in fit_to_length(text, 2)]
        [[5, 6], [7, 8]]
    """
    prefix = encoded.num_prefix
    room = sequence_length - prefix
    if room < 2:
        raise ValueError(
            f"sequence_length must be at least {prefix + 2} with this tokenizer, "
            f"but it is {sequence_length}."
        )
    size = len(encoded.token_ids) - prefix
    if encoded.is_text:
        starts = range(0, size, room)
        pieces = [_part(encoded, start, min(start + room, size)) for start in starts]
        return [piece for piece in pieces if len(piece.token_ids) >= 2]
    first_scored = encoded.is_scored.index(True) - prefix if any(encoded.is_scored) else size
    start = min(max(size - room, 0), max(first_scored - 1, 0))
    return [_part(encoded, start, min(start + room, size))]


def _part(encoded: EncodedRecord, start: int, stop: int) -> EncodedRecord:
    """The prefix and the tokens from ``start`` to ``stop`` behind it."""
    prefix = encoded.num_prefix
    ids = encoded.token_ids[:prefix] + encoded.token_ids[prefix + start : prefix + stop]
    is_scored = encoded.is_scored[:prefix] + encoded.is_scored[prefix + start : prefix + stop]
    if is_scored:
        is_scored[0] = False
    return EncodedRecord(ids, is_scored, prefix, encoded.is_text)
