"""How well features keep the cosines of full gradients, and Fisher diagonals their values.

Axes: n sequences, d feature dimensions, m pairs of sequences.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.gradients.measured import Measured
from benchmarks.gradients.rivals.naive_loop import NAIVE_FISHER, fisher
from benchmarks.gradients.row import Output, Step
from benchmarks.gradients.subject import Subject
from benchmarks.gradients.timing import progress


def cosines(gram_nn: Tensor) -> Tensor:
    """Cosines of all pairs ``[m]``, from inner products."""
    length_n = gram_nn.diagonal().sqrt()
    cosine_nn = gram_nn / (length_n[:, None] * length_n)
    first, second = torch.triu_indices(len(gram_nn), len(gram_nn), offset=1)
    return cosine_nn[first, second]


def agreement(cosine_m: Tensor, true_m: Tensor) -> tuple[float, float]:
    """Pearson's correlation and the mean absolute error.

    Example:
        >>> agreement(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 0.25, 0.5]))
        (1.0, 0.25)
    """
    correlation = torch.corrcoef(torch.stack([cosine_m, true_m]))[0, 1]
    return round(float(correlation), 6), float((cosine_m - true_m).abs().mean())


def note_quality(
    result: Measured, subject: Subject, step: Step, grams: Mapping[str, Tensor]
) -> None:
    """Complete a row's features and compare their cosines with the full gradients'."""
    progress(f"cosines: {result.row.name}")
    feature_nd = _all_features(result, subject, step).double().cpu()
    result.num_dims = feature_nd.shape[1]
    cosine_m = cosines(feature_nd @ feature_nd.T)
    result.correlation, result.absolute_error = agreement(cosine_m, cosines(grams["all"]))
    if result.row.covers == "linear":
        own = agreement(cosine_m, cosines(grams["linear"]))
        result.own_correlation, result.own_absolute_error = own


def _all_features(result: Measured, subject: Subject, step: Step) -> Tensor:
    """Features of all sequences: those that timing left, and the rest."""
    missing = [n for n in range(len(subject.batches)) if n not in result.outputs]
    if result.row.quality_batch is not None and missing:
        ids_nt = torch.cat([batch["input_ids"] for batch in subject.batches])
        many = [
            {"input_ids": ids, "labels": ids}
            for ids in torch.split(ids_nt, result.row.quality_batch)
        ]
        return torch.cat([_features(step(batch)) for batch in many])
    for number in missing:
        result.outputs[number] = step(subject.batches[number])
    return torch.cat([_features(result.outputs[n]) for n in range(len(subject.batches))])


def _features(output: Output) -> Tensor:
    assert isinstance(output, Tensor)
    return output.detach()


def note_fisher_error(result: Measured, reference: Mapping[str, Tensor]) -> None:
    """Compare a Fisher diagonal of the first batch with a loop's, on the parameters it has."""
    found = _by_parameter(result.outputs[0])
    unknown = set(found) - set(reference)
    if unknown:
        raise ValueError(f"{result.row.name}: the model has no parameter {min(unknown)}.")
    error, size = 0.0, 0.0
    for name, value in found.items():
        true = reference[name].double()
        error += float((value.to(true).reshape(true.shape) - true).square().sum())
        size += float(true.square().sum())
    result.relative_error = (error / size) ** 0.5
    result.num_dims = sum(value.numel() for value in found.values())


def reference_fisher(results: Sequence[Measured], subject: Subject) -> Mapping[str, Tensor]:
    """The Fisher diagonal of the first batch, sample by sample."""
    for result in results:
        if result.row.name == NAIVE_FISHER and 0 in result.outputs:
            return _by_parameter(result.outputs[0])
    return _by_parameter(fisher(subject)(subject.batches[0]))


def _by_parameter(output: Output) -> Mapping[str, Tensor]:
    assert isinstance(output, Mapping)
    return output
