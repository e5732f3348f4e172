# SPDX-License-Identifier: Apache-2.0
"""A factor from a calibration of the user's, for networks that know no metres.

Measure one distance in the scene, divide by what the network says there, and set `scaling.scale`.
It holds as long as the network's scale does, which for relative networks changes with the picture.
"""

from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.types import Kind, Prediction

#: the factor itself is applied by `Scaling` for every method
ACCEPTS = frozenset({Kind.METRIC, Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE})


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """The prediction, (H, W), still to be multiplied."""
    return prediction.values
