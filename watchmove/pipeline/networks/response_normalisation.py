"""Local response normalisation after conv1 and conv2 (Krizhevsky et al., NIPS 2012, section 3.3), as Caffe computes it.

Published Caffe weights were trained with it, so that their later layers expect its values. The trunks that are
pretrained here have none.
"""

from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional

_CHANNELS = 5
"""Adjacent channels whose squares are averaged (`local_size` of bvlc_reference_caffenet and of bvlc_alexnet)."""
_ALPHA = 1e-4
"""Factor of the mean square (`alpha` of both models)."""
_BETA = 0.75
"""Exponent of the denominator (`beta` of both models)."""


def _published_factors() -> dict[str, float]:
    return {"conv1": _ALPHA, "conv2": _ALPHA}


@dataclass
class ResponseNormalisation:
    """The normalisation x / (1 + alpha mean(x²))^0.75 of a trunk's conv1 and conv2, the mean over five channels."""

    before_pooling: bool
    """Whether it precedes the pooling, as in bvlc_alexnet; else it follows, as in bvlc_reference_caffenet."""
    alpha: dict[str, float] = field(default_factory=_published_factors)
    """Factor of the mean square, by layer."""

    def apply(self, name: str, features: Tensor) -> Tensor:
        """Return the normalised features (N, C, h, w) of layer `name`."""
        result: Tensor = functional.local_response_norm(features, _CHANNELS, self.alpha[name], _BETA, k=1.0)
        return result

    def adapt(self, name: str, factor: float) -> None:
        """Adapt to features that have become larger by `factor`, so that the normalised ones do so too."""
        if name in self.alpha:
            self.alpha[name] /= factor**2
