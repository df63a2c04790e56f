"""Stage one: a tokenizer, loaded or trained on the sources."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from dids.atomic import whole_folder
from dids.config import Config
from dids.data.readers import read_records
from dids.data.sources import SourceFiles
from dids.data.tokenizer import load_tokenizer, train_tokenizer
from dids.run.workspace import Workspace

MAX_CHARACTERS = 60_000_000
"""That a tokenizer is trained on, over all sources: merges hardly change beyond it."""
_TRAINED_ON = 200  # records a source, for a tokenizer like the run's


def run(work: Workspace) -> dict[str, Any]:
    """Write ``tokenizer/``."""
    config = work.config
    if config.tokenizer.name is not None:
        tokenizer = load_tokenizer(
            config.tokenizer.name, trust_remote_code=config.trust_remote_code
        )
    else:
        assert config.tokenizer.train is not None
        tokenizer = train_tokenizer(training_texts(work), config.tokenizer.train.vocab_size)
    with whole_folder(work.path("tokenizer")) as folder:
        tokenizer.save_pretrained(folder)
    return {"vocab_size": len(tokenizer)}


def training_texts(work: Workspace, max_characters: int = MAX_CHARACTERS) -> Iterator[str]:
    """Texts of every source, each up to the same number of characters."""
    share = max_characters // len(work.sources)
    for source in work.sources.values():
        num_characters = 0
        for record in read_records(source, on_bad_record=work.config.data.on_bad_record):
            for text in record.texts:
                num_characters += len(text)
                yield text
            if num_characters >= share:
                break


def tokenizer_like(config: Config, sources: Sequence[SourceFiles]) -> PreTrainedTokenizerBase:
    """The tokenizer that the config names, or one trained like the run's on a few records."""
    if config.tokenizer.name is not None:
        return load_tokenizer(config.tokenizer.name, trust_remote_code=config.trust_remote_code)
    assert config.tokenizer.train is not None

    def texts() -> Iterator[str]:
        for source in sources:
            records = read_records(source, on_bad_record="skip")
            for record in itertools.islice(records, _TRAINED_ON):
                yield from record.texts

    return train_tokenizer(texts(), config.tokenizer.train.vocab_size)
