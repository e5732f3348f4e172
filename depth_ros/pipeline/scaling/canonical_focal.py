# SPDX-License-Identifier: Apache-2.0
"""Undo the canonical camera with the intrinsics."""

from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import InferenceError
from depth_ros.core.types import Kind, Prediction

ACCEPTS = frozenset({Kind.CANONICAL})


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """Z = Z_c * f / f_c, both focal lengths at the frame's resolution.

    Args:
        prediction: CANONICAL; `values` (H, W) [m], `focal_px` is f_c along x and y.
        camera: of the undistorted image the prediction was made from.

    Returns:
        Z along the optical axis, (H, W) float32 [m]; with unequal ratios their mean is taken.

    Raises:
        InferenceError: `prediction` carries no canonical focal length.

    Source: Metric3D (Yin et al. 2023); Depth Pro is the case f_c = W, Depth Anything 3 metric is
    300 px at network size.
    """
    if prediction.focal_px is None:
        raise InferenceError('a canonical prediction came without focal_px')
    fx, fy = prediction.focal_px
    return prediction.values * ((camera.fx / fx + camera.fy / fy) / 2)
