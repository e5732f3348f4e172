# SPDX-License-Identifier: Apache-2.0
"""Method `as_is`: the network predicts metric depth."""

from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.types import Kind, Prediction

ACCEPTS = frozenset({Kind.METRIC})


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """Z (H, W) float32 [m], as predicted."""
    return prediction.values
