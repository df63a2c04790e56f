"""Made-up outcomes of runs, to compute standings by hand from."""

from dids.compare.outcome import Outcome


def outcome(losses, accuracies=None, curve=(), **changes) -> Outcome:
    """A run with these test losses, and validation losses equal to them."""
    return Outcome(
        test_losses=losses,
        accuracies=accuracies or {},
        curve=tuple(curve),
        final_losses=losses,
        **{"tokens": 100, **changes},
    )


def losses_of(*by_task: dict[str, float]) -> dict[int, Outcome]:
    """One run a seed."""
    return {seed: outcome(losses) for seed, losses in enumerate(by_task)}
