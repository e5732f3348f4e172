# SPDX-License-Identifier: Apache-2.0
"""Method `canonical_focal`: convert depth of the canonical camera with the intrinsics."""

from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import InferenceError
from depth_ros.core.types import Kind, Prediction

ACCEPTS = frozenset({Kind.CANONICAL})


def to_metres(prediction: Prediction, camera: Camera) -> Tensor:
    """Z = Z_c f / f_c, with both focal lengths at the resolution of the frame.

    Args:
        prediction: CANONICAL; `values` (H, W) [m], `focal_px` is f_c along x and y.
        camera: camera of the undistorted frame.

    Returns:
        Z along the optical axis, (H, W) float32 [m]; f / f_c is the mean of both axes.

    Raises:
        InferenceError: `prediction` has no canonical focal length.

    Source: Metric3D (Yin et al. 2023). For Depth Pro f_c is W, for Depth Anything 3 metric it is
    300 px at network size.
    """
    if prediction.focal_px is None:
        raise InferenceError('a canonical prediction has no focal_px; the model must set it')
    fx, fy = prediction.focal_px
    return prediction.values * ((camera.fx / fx + camera.fy / fy) / 2)
