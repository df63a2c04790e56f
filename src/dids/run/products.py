"""What finished stages have left that others build on, held against its checksums.

Token stores, features, domains and checkpoints have checksums of their own; here are the rest.
"""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from dids.checksum import file_checksum, is_damaged
from dids.domains.domains import Domains
from dids.errors import InputError
from dids.run.folder import RunFolder
from dids.run.measuring import IMPACT_NAME
from dids.run.workspace import EARLIER_DOMAINS
from dids.training.train import MODEL_NAME, MOMENTS_NAME

logger = logging.getLogger(__name__)

_PRODUCTS = {
    "tokenizer": ("tokenizer",),
    "proxy": (f"proxy/{MODEL_NAME}", f"proxy/{MOMENTS_NAME}"),
    "impact": (IMPACT_NAME,),
    "train": (f"train/{MODEL_NAME}",),
    "control": (f"control/{MODEL_NAME}",),
}
"""Files and folders, by the stage that leaves them."""


def product_checksums(run: Path, stage: str) -> dict[str, str]:
    """SHA-256 of every file that a stage has left, by its place in the run folder."""
    return {str(path.relative_to(run)): file_checksum(path) for path in _files(run, stage)}


def forget_damaged(folder: RunFolder) -> None:
    """Name what is missing or damaged of finished stages, and let those stages be done again.

    They make the same again: everything in a stage follows from the config, the data and the seed.

    Raises:
        InputError: If domains are damaged that a command has regrouped since, which no stage makes.
    """
    for stage in _PRODUCTS:
        if not folder.is_done(stage):
            continue
        for name, checksum in folder.facts(stage).get("checksums", {}).items():
            path = folder.path / name
            if is_damaged(path, checksum):
                logger.warning("%s is missing or damaged: it is made again.", path)
                folder.forget(stage)
                break
    if folder.is_done("domains"):
        domains = folder.path / "domains"
        try:
            Domains.load(domains)
        except InputError as error:
            if (folder.path / EARLIER_DOMAINS).exists():
                raise
            logger.warning("%s They are made again.", error)
            folder.forget("domains")
            if domains.exists():
                shutil.rmtree(domains)


def _files(run: Path, stage: str) -> Iterable[Path]:
    for name in _PRODUCTS.get(stage, ()):
        path = run / name
        found = path.rglob("*") if path.is_dir() else [path]
        yield from sorted(one for one in found if one.is_file())
