# SPDX-License-Identifier: Apache-2.0
"""Method `constant`: a factor measured by the user.

Measure the depth of one point, divide it by the prediction there, and set `scaling.scale` to the
result. It is valid as long as the scale of the network is constant; that of relative networks
differs between images.
"""

from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.types import Kind, Prediction

#: the factor is applied by `Scaling`, for every method
ACCEPTS = frozenset({Kind.METRIC, Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE})


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """The prediction, (H, W) float32, which `Scaling` multiplies by the factor."""
    return prediction.values
