# SPDX-License-Identifier: Apache-2.0
"""What flows through the pipeline: Frame -> Prediction -> DepthMap."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from torch import Tensor

from depth_ros.camera import Camera
from depth_ros.errors import CameraError


class Kind(enum.Enum):
    """What a network's number means; Z is the distance along the optical axis (REP 118)."""

    METRIC = 'metric'  #: Z [m]
    CANONICAL = 'canonical'  #: Z [m] as if the focal length were `Prediction.focal_px`
    SCALE_INVARIANT = 'scale_invariant'  #: Z times an unknown factor
    AFFINE_INVERSE = 'affine_inverse'  #: a / Z + b, a and b unknown


@dataclass(frozen=True, slots=True)
class Frame:
    """An image and the camera that took it.

    Args:
        rgb: (H, W, 3) uint8, on the device that infers.
        camera: of exactly this image.
        stamp_ns: time of exposure [ns], the image's header stamp.
        frame_id: name of the optical frame (REP 103).

    Raises:
        CameraError: image and camera disagree in size.
    """

    rgb: Tensor
    camera: Camera
    stamp_ns: int = 0
    frame_id: str = ''

    def __post_init__(self) -> None:
        """Image and camera travel together and agree."""
        if tuple(self.rgb.shape) != (*self.camera.size, 3):
            raise CameraError(f'image is {tuple(self.rgb.shape)}, its camera says {self.camera}')


@dataclass(frozen=True, slots=True)
class Prediction:
    """A network's answer, brought back to the frame's pixels; NaN where it has none.

    Args:
        values: (H, W) float32, meaning as `kind` says.
        kind: what `values` means.
        focal_px: CANONICAL only: (fx, fy) [px], at the frame's resolution, of the camera `values`
            are metres for.
        confidence: (H, W) float32, larger is surer, in the network's own unit, or None.
        sky: (H, W) bool, True where nothing is in range; None if the network does not say.
    """

    values: Tensor
    kind: Kind
    focal_px: tuple[float, float] | None = None
    confidence: Tensor | None = None
    sky: Tensor | None = None


@dataclass(frozen=True, slots=True)
class DepthMap:
    """Metres along the optical axis.

    Args:
        z: (H, W) float32 [m]; NaN invalid, +Inf nothing in range, -Inf too near (REP 117).
        camera: pinhole without distortion whose pixels `z` and `rgb` are.
        rgb: (H, W, 3) uint8, the (undistorted) image.
        confidence: (H, W) float32 or None.
    """

    z: Tensor
    camera: Camera
    rgb: Tensor
    confidence: Tensor | None = None
