# SPDX-License-Identifier: Apache-2.0
"""The network already answers in metres."""

from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.types import Kind, Prediction

ACCEPTS = frozenset({Kind.METRIC})


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """Z [m] (H, W) as predicted."""
    return prediction.values
