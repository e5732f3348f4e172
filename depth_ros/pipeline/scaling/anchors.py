# SPDX-License-Identifier: Apache-2.0
"""Method `anchors`: metres from pixels of known depth, for each frame; see `anchored`."""

from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.types import Kind, Prediction
from depth_ros.pipeline.scaling import canonical_focal

ACCEPTS = frozenset(Kind)


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """The prediction, (H, W) float32, still to be corrected by `anchored.AnchoredScale`.

    Raises:
        InferenceError: a canonical prediction has no `focal_px`.
    """
    if prediction.kind is Kind.CANONICAL:
        return canonical_focal.to_metres(prediction, camera)
    return prediction.values
