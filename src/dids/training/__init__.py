"""Training: models, the Trainer whose mixture follows the run, checkpoints that resume exactly."""

from dids.training.domain_mixture import DomainMixture
from dids.training.mixture_callback import MixtureCallback
from dids.training.mixture_view import MixtureView
from dids.training.policy_loop import PolicyLoop
from dids.training.policy_mixture import PolicyMixture
from dids.training.trainer import DidsMixin, DidsTrainer

__all__ = [
    "DidsMixin",
    "DidsTrainer",
    "DomainMixture",
    "MixtureCallback",
    "MixtureView",
    "PolicyLoop",
    "PolicyMixture",
]
