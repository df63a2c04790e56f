"""Gradient features of the batches that train a model, read off the backward passes that train it.

They cost the projection alone: no pass of their own, and no weight gradient that training does not
compute anyway. They are those of the model as it is at that step, dropout included.

Axes: b samples, d feature dimensions, w of the sketch that they are made of.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dids.gradients.layers import layer_gradients
from dids.gradients.model_state import sums_like
from dids.gradients.projection import Projection


class LiveFeatures:
    """Features as a by-product of training.

    Under ``DistributedDataParallel`` every process gets the features of its own samples.

    Args:
        model: The model that is trained; of a wrapped one the model inside, whose parameters bear
            the names that the projection knows.
        projection: Π.
        layers: Patterns of the names of parameters or modules; None for every layer.
    """

    def __init__(
        self, model: nn.Module, projection: Projection, *, layers: Sequence[str] | None = None
    ) -> None:
        self.model = model
        self.projection = projection
        self.layers = layers

    @contextmanager
    def collecting(
        self, scored_b: Int64[Tensor, " b"], per_token: float
    ) -> Iterator[Float[Tensor, "b d"]]:
        """Read the features of one micro-batch, whose forward and backward pass run inside.

        Args:
            scored_b: Scored tokens of each sample.
            per_token: What the loss multiplies each scored token's negative log-likelihood by:
                one over the number of tokens that it is a mean over, times any loss scale.

        Yields:
            Zeros, which are φ of each sample's own mean loss once the block is left: as
            :func:`dids.gradients.sample_features.sample_features` would give them. ``.grad`` is
            filled as it would be outside.
        """
        kind = sums_like(self.model)
        feature_bd = torch.zeros(len(scored_b), self.projection.dim, **kind)
        sketch_bw = torch.zeros(len(scored_b), self.projection.sketch_dim, **kind)
        # Beforehand: a GPU would have to finish the pass before it took the numbers.
        share_b = scored_b.clamp(min=1).to(feature_bd) * per_token
        with layer_gradients(
            self.model,
            lambda layer: self.projection.add_(sketch_bw, layer),
            weight_gradients=True,
            layers=self.layers,
            kept_input=self.projection.kept_input,
        ):
            yield feature_bd
        torch.div(self.projection.features(sketch_bw), share_b.unsqueeze(1), out=feature_bd)
