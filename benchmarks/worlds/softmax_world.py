"""A linear-softmax model on generated classes: domains and tasks are pools of labelled points.

Trained on whole pools, so a run has no noise; the loss is a mean negative log-likelihood, as a
language model's, and how domains interfere comes of the model, not of a choice.

Axis letters: m mixtures, k domains, t tasks, p parameters (c classes times d features), n samples.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Pools:
    """Labelled points, as many in every pool (axis g).

    Attributes:
        feature_gnd: The points.
        label_gnc: One-hot, or a distribution over classes.
    """

    feature_gnd: np.ndarray
    label_gnc: np.ndarray

    def errors(self, theta_mp: Float64[np.ndarray, "m p"]) -> Float64[np.ndarray, "m g n c"]:
        """Predicted probability less label: the gradient of the loss at the logits."""
        probability = np.exp(self.log_probabilities(theta_mp))
        return np.asarray(probability - self.label_gnc)

    def log_probabilities(
        self, theta_mp: Float64[np.ndarray, "m p"]
    ) -> Float64[np.ndarray, "m g n c"]:
        """Of every class, as the model has them."""
        num_classes = self.label_gnc.shape[2]
        weight_mdc = theta_mp.reshape(len(theta_mp), num_classes, -1).transpose(0, 2, 1)
        logit = self.feature_gnd @ weight_mdc[:, None]
        logit = logit - logit.max(axis=-1, keepdims=True)
        return np.asarray(logit - np.log(np.exp(logit).sum(axis=-1, keepdims=True)))

    def sample_gradients(
        self, theta_p: Float64[np.ndarray, " p"], pool: int, chosen_n: np.ndarray
    ) -> Float64[np.ndarray, "n p"]:
        """Gradients of some samples of a pool, one by one."""
        part = slice(pool, pool + 1)
        some = Pools(self.feature_gnd[part, chosen_n], self.label_gnc[part, chosen_n])
        error_nc = some.errors(theta_p[None])[0, 0]
        gradient_ncd = np.einsum("nc,nd->ncd", error_nc, some.feature_gnd[0])
        return np.asarray(gradient_ncd.reshape(len(chosen_n), -1))


@dataclass(frozen=True)
class SoftmaxWorld:
    """A world of classes.

    Attributes:
        domain_names: What each domain is.
        sizes_k: Samples of each domain: what counts as a repeat.
        step_p: Learning rate times the optimizer's preconditioner.
        domains: The domains' pools.
        tasks: The tasks' pools.
    """

    domain_names: tuple[str, ...]
    sizes_k: np.ndarray
    step_p: np.ndarray
    domains: Pools
    tasks: Pools

    @property
    def start_p(self) -> np.ndarray:
        """Nothing learnt: all classes alike."""
        return np.zeros(len(self.step_p))

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.tasks.feature_gnd)

    def gradient(
        self, theta_mp: Float64[np.ndarray, "m p"], weight_mk: Float64[np.ndarray, "m k"]
    ) -> Float64[np.ndarray, "m p"]:
        """The weighted sum of the domains' mean gradients."""
        num_samples, num_features = self.domains.feature_gnd.shape[1:]
        error_mknc = self.domains.errors(theta_mp) * weight_mk[:, :, None, None] / num_samples
        error_mcn = error_mknc.reshape(len(theta_mp), -1, error_mknc.shape[3]).transpose(0, 2, 1)
        gradient_mcd = error_mcn @ self.domains.feature_gnd.reshape(-1, num_features)
        return np.asarray(gradient_mcd.reshape(len(theta_mp), -1))

    def task_losses(self, theta_mp: Float64[np.ndarray, "m p"]) -> Float64[np.ndarray, "m t"]:
        """Each task's mean negative log-likelihood."""
        gained = self.tasks.label_gnc * self.tasks.log_probabilities(theta_mp)
        return np.asarray(-gained.sum(axis=3).mean(axis=2))

    def domain_gradient_sample(
        self, theta_p: Float64[np.ndarray, " p"], domain: int, size: int, rng: np.random.Generator
    ) -> Float64[np.ndarray, " p"]:
        """Mean gradient of ``size`` samples of a domain."""
        chosen_n = rng.integers(self.domains.feature_gnd.shape[1], size=size)
        return np.asarray(self.domains.sample_gradients(theta_p, domain, chosen_n).mean(axis=0))

    def task_gradient_samples(
        self, theta_p: Float64[np.ndarray, " p"], task: int, size: int, rng: np.random.Generator
    ) -> Float64[np.ndarray, "n p"]:
        """Gradients of ``size`` samples of a task, one by one."""
        chosen_n = rng.integers(self.tasks.feature_gnd.shape[1], size=size)
        return self.tasks.sample_gradients(theta_p, task, chosen_n)
