"""The mixture of a finished run as shares of tokens or of records, at its end or over its course.

A run's weights are shares of samples or of tokens (``mixture.unit``); trainers count records (the
lines of a file) or tokens. Tokens are as the run counted them: with its tokenizer, cut to its
sequence length.

Axes: k domains, r rounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from dids.errors import InputError
from dids.mixture.limits import weighted
from dids.report.record import RunRecord

Unit = Literal["records", "tokens"]
"""What a weight is a share of."""

Choice = Literal["final", "average", "schedule"]
"""The last round's mixture, what the run trained on from beginning to end, or round by round."""


@dataclass(frozen=True)
class Stage:
    """A mixture and when it begins."""

    fraction: float
    """Of the run's tokens that were trained on before."""
    weights: Mapping[str, float]
    """By domain, summing to 1."""
    of_steps: float | None = None
    """Of the run's steps that were done before; None: as of its tokens."""


@dataclass(frozen=True, eq=False)
class RunMixture:
    """The mixtures of a run, round by round.

    Attributes:
        names: Of the domains.
        token_share_rk: Share of tokens of each domain in each round; NaN in rounds that had
            other domains.
        begin_r: Fraction of the run's tokens at which each round begins; the first at 0.
        records_per_token_k: Records of a domain over its tokens; 0 where all its samples are the
            lesser parts of longer texts, so that no record is its own. Such a domain has no weight.
        drawn_share_k: Share of each domain in the tokens that the run drew, which is not what its
            mixtures asked for once a domain has run out; None if an old run does not say.
        of_steps_r: Fraction of the run's steps at which each round begins; None if a run does not
            say how many it had.
    """

    names: tuple[str, ...]
    token_share_rk: Float64[np.ndarray, "r k"]
    begin_r: Float64[np.ndarray, " r"]
    records_per_token_k: Float64[np.ndarray, " k"]
    drawn_share_k: Float64[np.ndarray, " k"] | None = None
    of_steps_r: Float64[np.ndarray, " r"] | None = None

    @classmethod
    def of_run(cls, record: RunRecord, records_by_domain: Mapping[str, int]) -> "RunMixture":
        """The mixtures of a finished run.

        Args:
            record: What ``result.json`` holds.
            records_by_domain: How many records each domain has.

        Raises:
            InputError: If the run has no mixture.
        """
        names = tuple(record.domains)
        if not record.mixture:
            raise InputError("result.json: 'mixture' is empty; the run has no weights to export.")
        is_in_tokens = record.config.get("mixture", {}).get("unit", "samples") == "tokens"
        domains = [record.domains[name] for name in names]
        tokens_k = np.array([float(domain.tokens) for domain in domains])
        samples_k = np.array([float(domain.samples) for domain in domains])
        records_k = np.array([float(records_by_domain[name]) for name in names])
        share_rk = np.array(
            [[moment.probability.get(name, np.nan) for name in names] for moment in record.mixture]
        )
        share_rk[[set(moment.probability) != set(names) for moment in record.mixture]] = np.nan
        if not is_in_tokens:
            mean_length_k = tokens_k / samples_k
            share_rk = np.stack([weighted(share_k, mean_length_k) for share_k in share_rk])
        tokens_r = np.array([float(moment.tokens) for moment in record.mixture])
        return cls(
            names,
            share_rk,
            tokens_r / max(1, record.tokens),
            records_k / tokens_k,
            _drawn_share(record),
            None
            if not record.steps
            else np.array([float(moment.step) for moment in record.mixture]) / record.steps,
        )

    def final(self, unit: Unit) -> dict[str, float]:
        """The last round's weights."""
        return self._weights(self.token_share_rk[-1], unit)

    def average(self, unit: Unit) -> dict[str, float]:
        """Shares of everything that the run trained on.

        Where the run does not say what it drew, the mean of what its mixtures asked for.

        Raises:
            InputError: If the domains changed while the run went on.
        """
        self._check_same_domains()
        if self.drawn_share_k is not None:
            return self._weights(self.drawn_share_k, unit)
        length_r = np.diff(self.begin_r, append=1.0)
        return self._weights(length_r @ self.token_share_rk / length_r.sum(), unit)

    def schedule(self, unit: Unit) -> tuple[Stage, ...]:
        """The weights of every round; rounds with the mixture of the one before are left out.

        Raises:
            InputError: If the domains changed while the run went on.
        """
        self._check_same_domains()
        stages: list[Stage] = []
        of_steps = [None] * len(self.begin_r)
        if self.of_steps_r is not None:
            of_steps = self.of_steps_r.tolist()
        rounds = zip(self.begin_r.tolist(), self.token_share_rk, of_steps, strict=True)
        for fraction, share_k, of_step in rounds:
            weights = self._weights(share_k, unit)
            if not stages or weights != stages[-1].weights:
                stages.append(Stage(fraction, weights, of_step))
        return tuple(stages)

    def chosen(self, choice: Choice, unit: Unit) -> tuple[Stage, ...]:
        """The stages to export: one, unless it is the schedule that is asked for."""
        if choice == "schedule":
            return self.schedule(unit)
        return (Stage(0.0, self.final(unit) if choice == "final" else self.average(unit)),)

    def _check_same_domains(self) -> None:
        others = np.isnan(self.token_share_rk).any(axis=1).sum()
        if others:
            raise InputError(
                f"In {others} of its {len(self.begin_r)} rounds the run had other domains than at "
                "its end, so only its last mixture can be exported: --weights final."
            )

    def _weights(self, token_share_k: Float64[np.ndarray, " k"], unit: Unit) -> dict[str, float]:
        weight_k = self.records_per_token_k
        share_k = weighted(token_share_k, weight_k if unit == "records" else 1.0 * (weight_k > 0))
        return dict(zip(self.names, share_k.tolist(), strict=True))


def _drawn_share(record: RunRecord) -> Float64[np.ndarray, " k"] | None:
    drawn = [domain.tokens_drawn for domain in record.domains.values()]
    known = [float(tokens) for tokens in drawn if tokens is not None]
    if len(known) < len(drawn) or sum(known) <= 0.0:
        return None
    return np.array(known) / sum(known)
