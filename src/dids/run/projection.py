"""The projection of a run's features: fitted once to the proxy and a few samples, then kept."""

import hashlib

import numpy as np
from safetensors.torch import load_file, save_file

from dids.atomic import whole_file
from dids.checksum import file_checksum
from dids.gradients.compute_features import batches_by_length
from dids.gradients.fit_projection import fit_projection, fitted_input_dim
from dids.gradients.projection import Projection
from dids.run.kept_file import is_kept, mark_kept
from dids.run.workspace import Workspace

_SAMPLES = 32
"""Fitted to, drawn evenly from the corpus."""
_RULES_VERSION = 1
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
        input_dim, directions = fitted_input_dim(settings.dim), load_file(path)
        return Projection(settings.dim, input_dim=input_dim, seed=seed, directions=directions)
    fitted = _fitted(work)
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as unfinished:
        save_file(fitted.directions, unfinished)
    mark_kept(path, key)
    return fitted


def _fitted(work: Workspace) -> Projection:
    settings, seed = work.config.features, work.config.seed
    batches = [
        batch
        for _, batch in batches_by_length(
            work.dataset,
            work.collate,
            _drawn(work),
            batch_tokens=settings.batch_tokens,
            device=work.device,
        )
    ]
    return fit_projection(
        work.saved_model("proxy"), batches, settings.dim, seed=seed, layers=settings.layers
    )


def _drawn(work: Workspace) -> np.ndarray:
    """Samples with something scored; of a corpus in which such are rare, fewer."""
    rng = np.random.Generator(np.random.Philox(key=work.config.seed))
    drawn_n = np.unique(rng.integers(len(work.dataset), size=4 * _SAMPLES))
    scored_n = drawn_n[work.dataset.scored_counts[drawn_n] > 0]
    return np.sort(rng.permutation(scored_n)[:_SAMPLES])


def _key(work: Workspace) -> str:
    """A hash of what the directions depend on."""
    made_of = [
        file_checksum(work.path("proxy") / "model" / "model.safetensors"),
        work.config.features.model_dump_json(include={"dim", "layers"}),
        str((work.config.seed, _SAMPLES, _RULES_VERSION)),
    ]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()
