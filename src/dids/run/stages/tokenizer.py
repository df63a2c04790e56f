"""Stage one: a tokenizer, loaded or trained on the sources."""

from collections.abc import Iterator
from typing import Any

from dids.atomic import whole_folder
from dids.data.readers import read_records
from dids.data.tokenizer import load_tokenizer, train_tokenizer
from dids.run.workspace import Workspace

# Characters that a tokenizer is trained on, over all sources: merges hardly change beyond it.
_MAX_CHARACTERS = 60_000_000


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


def training_texts(work: Workspace) -> Iterator[str]:
    """Texts of every source, each up to the same number of characters."""
    share = _MAX_CHARACTERS // len(work.sources)
    for source in work.sources.values():
        num_characters = 0
        for record in read_records(source, on_bad_record=work.config.data.on_bad_record):
            for text in record.texts:
                num_characters += len(text)
                yield text
            if num_characters >= share:
                break
