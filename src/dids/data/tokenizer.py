"""The tokenizer: trained on the sources, or loaded from a folder or the hub."""

import hashlib
import json
from collections.abc import Iterator
from itertools import islice

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dids.data.hub import refuse_missing_folder
from dids.data.rendering import DEFAULT_CHAT_TEMPLATE
from dids.errors import InputError

END = "<|endoftext|>"
PAD = "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
"""The marks of `DEFAULT_CHAT_TEMPLATE`."""
MIN_VOCAB_SIZE = 256 + 2 + len(ROLES)
"""Every byte, and the special tokens."""
TEXTS_PER_BATCH = 256


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer: any text goes through it and back unchanged.

    Args:
        texts: What to train on, read once.
        vocab_size: Size of the vocabulary; a small corpus may not fill it.

    Returns:
        The tokenizer, with ``<|endoftext|>`` as end token, ``<|pad|>`` for padding, and the default
        chat template with its marks as tokens. The same texts give the same tokenizer.

    Raises:
        InputError: If ``vocab_size`` is smaller than the byte alphabet.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        raise InputError(
            f"Field 'tokenizer.train.vocab_size' must be at least {MIN_VOCAB_SIZE} "
            f"(all bytes and the special tokens), but it is {vocab_size}."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, PAD, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_batches(texts), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        chat_template=DEFAULT_CHAT_TEMPLATE,
        model_max_length=1_000_000_000,  # the model has a limit, the tokenizer has none
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(
    name_or_folder: str, *, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a folder or the hub.

    Args:
        name_or_folder: A hub name, or a folder with tokenizer files.
        trust_remote_code: Whether code that comes with the tokenizer may run.

    Returns:
        The tokenizer; without a padding token of its own it pads with the end token.

    Raises:
        InputError: If there is no such tokenizer, or it has neither padding nor end token.
    """
    refuse_missing_folder(name_or_folder, "tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name_or_folder, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # the hub and damaged files fail in many ways
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InputError(
            f"The tokenizer '{name_or_folder}' cannot be loaded from a folder or the hub: {reason}."
        ) from error
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"The tokenizer '{name_or_folder}' has neither pad_token nor eos_token; "
                "set one of them in its tokenizer_config.json."
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over all that decides which ids a record gets.

    Args:
        tokenizer: Any tokenizer of ``transformers``.

    Returns:
        64 hexadecimal digits.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        # Left behind by earlier calls; they are not the tokenizer.
        rules.pop("truncation", None)
        rules.pop("padding", None)
    else:
        rules = {
            "class": type(tokenizer).__name__,
            "probe": tokenizer("Hello,  wörld 12345\n\t")["input_ids"],
        }
    described = {
        "rules": rules,
        "vocabulary": sorted(tokenizer.get_vocab().items()),
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "chat_template": tokenizer.chat_template,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(texts, TEXTS_PER_BATCH)):
        yield batch
