"""kronfluence: its diagonal strategy, which squares per-sample gradients of linear layers.

The head is left out, as its weight is the embedding's too, of which it would see a half.
"""

from typing import Any

from torch import Tensor, nn

from benchmarks.gradients.row import FISHER_BATCHES, Row, Step
from benchmarks.gradients.subject import Batch, Subject
from dids.gradients import sample_losses


def fisher(subject: Subject) -> Step:
    """What ``fit_lambda_matrices`` does for a batch, without its files."""
    from kronfluence.analyzer import prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.factor.eigen import fit_lambda_matrices_with_loader
    from kronfluence.task import Task
    from kronfluence.utils.state import State

    model = subject.model_copy()
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and ".layers." in name
    ]

    class LanguageModelling(Task):  # type: ignore[misc]
        def compute_train_loss(
            self, batch: Batch, model: nn.Module, sample: bool = False
        ) -> Tensor:
            assert not sample
            return sample_losses(model, batch).sum()

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:  # noqa: ANN401
            raise NotImplementedError("only factors are asked for")

        def get_influence_tracked_modules(self) -> list[str]:
            return names

    task = LanguageModelling()
    tracked = prepare_model(model, task)
    state = State(cpu=subject.device.type == "cpu")
    arguments = FactorArguments(strategy="diagonal", use_empirical_fisher=True)

    def step(batch: Batch) -> dict[str, Tensor]:
        _, factors = fit_lambda_matrices_with_loader(
            tracked, state, task, [batch] * FISHER_BATCHES, arguments, disable_tqdm=True
        )
        num_samples = FISHER_BATCHES * len(batch["input_ids"])
        return {
            f"{name}.weight": value / num_samples
            for name, value in factors["lambda_matrix"].items()
        }

    return step


ROWS = (
    Row(
        "kronfluence, Fisher diagonal (no head)",
        "fisher",
        fisher,
        covers="linear",
        batches_a_call=FISHER_BATCHES,
    ),
)
