# SPDX-License-Identifier: Apache-2.0
"""What flows through the pipeline: Frame -> Prediction -> DepthMap."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, InferenceError


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
        pose: where the second camera stood [m]; None for depth of one view.
        has_finite: () bool on the device, whether there is any number in the network's answer; to
            look at it waits for the network.
    """

    z: Tensor
    camera: Camera
    rgb: Tensor
    confidence: Tensor | None = None
    pose: Pose | None = None
    has_finite: Tensor | None = None

    def ensure_finite(self) -> None:
        """Wait for the network.

        Raises:
            InferenceError: its answer has no number in it.
        """
        if self.has_finite is not None and not self.has_finite:
            raise InferenceError(
                'the network answered no finite number at all; with fp16 try precision fp32 or '
                'bf16, otherwise the checkpoint is broken'
            )


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a second camera stood, seen from the first; lengths in the unit of a `Pair`, or [m].

    Args:
        T_first_second: (4, 4) float64, maps points of the second optical frame into the first.
        covariance: (6, 6) float64, in the order of geometry_msgs: x y z, then rotations about the
            x y z axes of the first frame [rad]. The unit's own error is not in it.
        inliers: share of the compared pixels that agree with the pose, 0..1.
        compared: how many pixels that were.
    """

    T_first_second: NDArray[np.float64]
    covariance: NDArray[np.float64]
    inliers: float
    compared: int

    @property
    def length(self) -> float:
        """Distance of the cameras."""
        return float(np.linalg.norm(self.T_first_second[:3, 3]))

    @property
    def length_std(self) -> float:
        """Standard deviation of `length`; in every direction's worst where there is no length."""
        t, c = self.T_first_second[:3, 3], self.covariance[:3, :3]
        along = t @ c @ t / (t @ t) if self.length > 0 else np.linalg.eigvalsh(c)[-1]
        return float(np.sqrt(max(along, 0.0)))

    def scaled(self, factor: float, error: float = 0.0) -> Pose:
        """The pose in another unit.

        Args:
            factor: what one unit of now is in the new one.
            error: standard deviation of `factor` as a part of it; it makes the length less sure.
        """
        units = np.array([factor] * 3 + [1.0] * 3)
        covariance = self.covariance * np.outer(units, units)
        T = self.T_first_second.copy()
        T[:3, 3] *= factor
        covariance[:3, :3] += error**2 * np.outer(T[:3, 3], T[:3, 3])
        return replace(self, T_first_second=T, covariance=covariance)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two views at once, up to one unknown factor common to all lengths; NaN where unknown.

    Args:
        z: (H, W) float32, along the optical axis of the first view, for its pixels.
        confidence: (H, W) float32, larger is surer, in the network's own unit.
        points_second: (H2, W2, 3) float32, what the second view's pixels show, in the optical
            frame of the first.
        confidence_second: (H2, W2) float32.
        pose: of the second camera; None where the pictures do not show enough in common.
    """

    z: Tensor
    confidence: Tensor
    points_second: Tensor
    confidence_second: Tensor
    pose: Pose | None
