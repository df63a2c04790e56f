"""The whole Fisher information in feature space, where it is small enough to have off its diagonal.

Axes: b samples of a batch, d and e feature dimensions.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dids.errors import InputError
from dids.gradients.gradient_pass import FeatureReceiver
from dids.gradients.projection import Projection


class FeatureMoments(FeatureReceiver):
    """Mean and second moment of the features of a pass; memory does not grow with its samples.

    With features φ = Π ∇loss of each sample, the second moment is Π F Πᵀ for the full empirical
    Fisher information F (true, where labels are drawn from the model).

    Args:
        projection: Π.
    """

    def __init__(self, projection: Projection) -> None:
        super().__init__(projection, self.add_)
        self.num_samples = 0
        self._sum_d = torch.zeros(0)
        self._square_de = torch.zeros(0)

    def add_(self, feature_bd: Float[Tensor, "b d"]) -> None:
        """Count the features of some more samples.

        Args:
            feature_bd: As a pass or :class:`~dids.gradients.live_features.LiveFeatures` gave them.
        """
        if self.num_samples == 0:
            self._sum_d = feature_bd.new_zeros(self.projection.dim)
            self._square_de = feature_bd.new_zeros(self.projection.dim, self.projection.dim)
        self.num_samples += len(feature_bd)
        self._sum_d += feature_bd.sum(0)
        self._square_de.addmm_(feature_bd.T, feature_bd)

    @property
    def mean_d(self) -> Float[Tensor, " d"]:
        """The mean gradient, projected.

        Raises:
            InputError: If there is no sample.
        """
        self._some()
        return self._sum_d / self.num_samples

    @property
    def fisher_de(self) -> Float[Tensor, "d d"]:
        """Mean of φ φᵀ.

        Raises:
            InputError: If there is no sample.
        """
        self._some()
        return self._square_de / self.num_samples

    def fisher_times(self, vector_d: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """Mean of ⟨φ, v⟩ φ.

        Args:
            vector_d: v, a projected update for example.

        Raises:
            InputError: If there is no sample.
        """
        self._some()
        return self._square_de @ vector_d / self.num_samples

    def _some(self) -> None:
        if self.num_samples == 0:
            raise InputError("moments of features need at least one sample, but there is none.")
