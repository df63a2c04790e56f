"""The projection of a run's features: fitted once to the proxy and a few samples, then kept."""

import hashlib
import json

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dids.atomic import whole_file
from dids.checksum import file_checksum
from dids.gradients.compute_features import batches_by_length
from dids.gradients.fit_projection import fit_projection, num_leading
from dids.gradients.projection import LEADING, Projection
from dids.run.kept_file import is_kept, mark_kept
from dids.run.workspace import Workspace

_SAMPLES = 32
"""That directions of inputs are fitted to, drawn evenly from the corpus."""
_LEADING_SHARE = 0.02
"""Of the corpus, whose own directions features keep, as far as they have room: one pass more."""
_RULES_VERSION = 5
"""Raise it when other directions come out of the same samples."""


def projection_of(work: Workspace) -> Projection:
    """The projection of this run; fitted on the first call, and the same one ever after.

    Sources that join a run later change nothing: their features must fit those that are there.
    """
    settings, seed = work.config.features, work.config.seed
    if settings.projection == "exact":
        return Projection(settings.dim, kind="exact", seed=seed)
    path, key = work.path("features") / "directions.safetensors", _key(work)
    if is_kept(path, key):
        directions = load_file(path)
        leading = directions.pop(LEADING, None)
        with safe_open(path, "pt") as file:
            kept = json.loads(file.metadata()["columns"])
        return Projection(
            settings.dim,
            input_dim=kept["input_dim"],
            seed=seed,
            columns=kept["by_parameter"],
            directions=directions,
            leading=leading,
        )
    fitted = _fitted(work)
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as unfinished:
        columns = {"input_dim": fitted.input_dim, "by_parameter": fitted.columns}
        save_file(fitted.fitted, unfinished, {"columns": json.dumps(columns)})
    mark_kept(path, key)
    return fitted


def _fitted(work: Workspace) -> Projection:
    settings, seed = work.config.features, work.config.seed
    most = min(num_leading(settings.dim), int(_LEADING_SHARE * len(work.dataset)))
    drawn_n = _drawn(work, _SAMPLES + most)
    return fit_projection(
        work.saved_model("proxy"),
        _batches(work, drawn_n[:_SAMPLES]),
        settings.dim,
        seed=seed,
        layers=settings.layers,
        leading=_batches(work, drawn_n[_SAMPLES:]),
    )


def _batches(work: Workspace, sample_n: np.ndarray) -> list[dict[str, Tensor]]:
    settings = work.config.features
    found = batches_by_length(
        work.dataset,
        work.collate,
        np.sort(sample_n),
        batch_tokens=settings.batch_tokens,
        device=work.device,
    )
    return [batch for _, batch in found]


def _drawn(work: Workspace, count: int) -> np.ndarray:
    """Samples with something scored, in random order; fewer where such are rare in the corpus."""
    rng = np.random.Generator(np.random.Philox(key=work.config.seed))
    drawn_n = np.unique(rng.integers(len(work.dataset), size=4 * count))
    scored_n = drawn_n[work.dataset.scored_counts[drawn_n] > 0]
    return rng.permutation(scored_n)[:count]


def _key(work: Workspace) -> str:
    """A hash of what the directions depend on."""
    made_of = [
        file_checksum(work.path("proxy") / "model" / "model.safetensors"),
        work.config.features.model_dump_json(include={"dim", "layers"}),
        str((work.config.seed, _SAMPLES, _LEADING_SHARE, _RULES_VERSION)),
    ]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()
