# SPDX-License-Identifier: Apache-2.0
"""Data types of the pipeline: Frame -> Prediction -> DepthMap."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError, InferenceError


class Kind(enum.Enum):
    """Meaning of a network's output; Z is the depth along the optical axis (REP 118)."""

    METRIC = 'metric'  #: Z [m]
    CANONICAL = 'canonical'  #: Z [m] for a camera of focal length `Prediction.focal_px`
    SCALE_INVARIANT = 'scale_invariant'  #: Z times an unknown factor
    AFFINE_INVERSE = 'affine_inverse'  #: a / Z + b, a and b unknown


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor as the mounting of a camera gives it.

    Args:
        height: of the optical centre above the floor [m], positive.
        down: (3,) float64 unit vector in the optical frame, perpendicular to the floor.
        height_sigma: standard deviation of `height` [m].
    """

    height: float
    down: NDArray[np.float64]
    height_sigma: float = 0.01


@dataclass(frozen=True, slots=True)
class Frame:
    """An image and the camera that took it.

    Args:
        rgb: (H, W, 3) uint8, on the device of the network.
        camera: intrinsics of exactly this image.
        stamp_ns: time of exposure [ns], the image's header stamp.
        frame_id: name of the optical frame (REP 103).
        T_odom_camera: (4, 4) float64, pose of the optical frame in a frame that does not move [m];
            None if it is not known.
        floor: below the camera at that time; None if it is not known, or the parameters have it.

    Raises:
        CameraError: image and camera disagree in size.
    """

    rgb: Tensor
    camera: Camera
    stamp_ns: int = 0
    frame_id: str = ''
    T_odom_camera: NDArray[np.float64] | None = None
    floor: Floor | None = None

    def __post_init__(self) -> None:
        """Check that image and camera have the same size."""
        if tuple(self.rgb.shape) != (*self.camera.size, 3):
            raise CameraError(
                f'image is {tuple(self.rgb.shape)} but its camera is {self.camera}: give the '
                'intrinsics of this image size (Camera.resized)'
            )


@dataclass(frozen=True, slots=True)
class Prediction:
    """Output of a network, resampled to the pixels of the frame; NaN where there is none.

    Args:
        values: (H, W) float32, in the unit of `kind`.
        kind: meaning of `values`.
        focal_px: CANONICAL only: (fx, fy) of the camera for which `values` are metres [px], at the
            resolution of the frame.
        confidence: (H, W) float32, larger is more certain, in the network's unit; or None.
        sky: (H, W) bool, True for sky; None if the network does not detect it.
        normals: (H, W, 3) float32, unit vectors perpendicular to the surface, towards the camera,
            in the optical frame (x right, y down, z forward); NaN where there are none. None if
            the network does not estimate them.
    """

    values: Tensor
    kind: Kind
    focal_px: tuple[float, float] | None = None
    confidence: Tensor | None = None
    sky: Tensor | None = None
    normals: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Anchors:
    """Pixels of known depth in one undistorted image, whatever sensor measured them.

    Args:
        u: (N,) float64, column [px]; the centre of the first pixel is 0.
        v: (N,) float64, row [px].
        z: (N,) float64, depth along the optical axis [m], finite and positive.
        sigma: (N,) float64, standard deviation of `z` [m], positive.

    Raises:
        ValueError: the arrays differ in length, or a depth or standard deviation is not positive
            and finite.
    """

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    z: NDArray[np.float64]
    sigma: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check lengths and values."""
        shapes = {a.shape for a in (self.u, self.v, self.z, self.sigma)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ValueError(f'u, v, z and sigma of anchors have shapes {shapes}, not all (N,)')
        for name, values in (('z', self.z), ('sigma', self.sigma)):
            if not (np.isfinite(values) & (values > 0)).all():
                raise ValueError(f'{name} of anchors must be positive and finite [m]')

    def __len__(self) -> int:
        """Number of anchors."""
        return len(self.z)

    @classmethod
    def joined(cls, several: Iterable[Anchors]) -> Anchors:
        """All anchors of several sources."""
        parts = [(a.u, a.v, a.z, a.sigma) for a in several]
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True, slots=True)
class ScaleState:
    """What is known of a scale that anchors give; see `pipeline.scaling.anchored`.

    Args:
        scale: factor on depth, on inverse depth for affine-inverse networks.
        shift: added to inverse depth [1/m].
        spread: relative standard deviation of depth that the scale causes.
        age_s: time since the newest anchors that were used [s].
        order: of the newest fit: scale, shift, spline or field.
        used: anchors of the newest fit that agree with it.
        refused: its other anchors.
        residual: relative standard deviation of depth at its held-out anchors.
        sources: names of the sources of its anchors.
        jumps: how often the scale has jumped to what several measurements agreed on.
        reason: why the newest anchors were not used; '' if they were.
    """

    scale: float = math.nan
    shift: float = 0.0
    spread: float = math.nan
    age_s: float = math.nan
    order: str = ''
    used: int = 0
    refused: int = 0
    residual: float = math.nan
    sources: tuple[str, ...] = ()
    jumps: int = 0
    reason: str = 'no anchors yet'

    def __str__(self) -> str:
        """The scale in one line."""
        shift = f', shift {self.shift:.3g} 1/m' if self.shift else ''
        return (
            f'scale {self.scale:.4g} +- {100 * self.spread:.1f} %{shift}, order {self.order}; '
            f'{self.used} anchors agree, {self.refused} do not; error at those left out '
            f'{100 * self.residual:.1f} %'
        )

    def named(self) -> dict[str, str]:
        """Names with units, and values, for people and plots."""
        return {
            'scale': f'{self.scale:.4g}',
            'shift [1/m]': f'{self.shift:.4g}',
            'scale spread [%]': f'{100 * self.spread:.1f}',
            'scale age [s]': f'{self.age_s:.2f}',
            'order of the fit': self.order,
            'anchors used': str(self.used),
            'anchors refused': str(self.refused),
            'residual at held-out anchors [%]': f'{100 * self.residual:.1f}',
            'sources of anchors': ' '.join(self.sources),
            'jumps of the scale': str(self.jumps),
            'anchors not used': self.reason,
        }


@dataclass(frozen=True, slots=True)
class LensDepth:
    """Distances along the rays of a lens, whose angle from the optical axis may be any.

    Args:
        ranges: (H, W) float32, distance of the pixel's surface from the optical centre [m]; NaN
            invalid, +Inf sky or beyond range, -Inf too near (REP 117).
        free_ranges: (H, W) float32 [m], how far the rays are taken to be free: `ranges` with the
            flying pixels.
        camera: of the raw image, with its distortion.
        rgb: (H, W, 3) uint8, the raw image.
    """

    ranges: Tensor
    free_ranges: Tensor
    camera: Camera
    rgb: Tensor


@dataclass(frozen=True, slots=True)
class DepthMap:
    """Metric depth along the optical axis.

    Args:
        z: (H, W) float32 [m]; NaN invalid, +Inf sky or beyond range, -Inf too near (REP 117).
        camera: of `z` and `rgb`: undistorted, but for a wide lens whose own pixels were asked for.
        rgb: (H, W, 3) uint8, the image of `camera`.
        confidence: (H, W) float32, as in `Prediction`; or None.
        pose: pose of the second camera [m]; None for depth from one view, or if it is not used.
        scale: where metres come from anchors, else None.
        has_finite: () bool on the device, whether the network's output has any finite value;
            reading it waits for the network. None if it was not checked.
        free_z: (H, W) float32 [m], how far the rays of the pixels are taken to be free: `z` with
            the flying pixels. None if it is `z`.
        floor: below the camera; None if it is not known.
        anchors: of this frame, which its scale was measured with; None for none.
        lens: of a wide lens, what clouds are made of: also what is beside or behind the camera,
            where no depth is positive. None for a pinhole.
        normals: (H, W, 3) float32, as in `Prediction`; or None.
    """

    z: Tensor
    camera: Camera
    rgb: Tensor
    confidence: Tensor | None = None
    pose: Pose | None = None
    scale: ScaleState | None = None
    has_finite: Tensor | None = None
    free_z: Tensor | None = None
    floor: Floor | None = None
    anchors: Anchors | None = None
    lens: LensDepth | None = None
    normals: Tensor | None = None

    def ensure_finite(self) -> None:
        """Wait for the network and check its output.

        Raises:
            InferenceError: the output has no finite value.
        """
        if self.has_finite is not None and not self.has_finite:
            raise InferenceError(
                'the output of the network has no finite value; with precision fp16 try fp32 or '
                'bf16, otherwise the checkpoint is damaged: download it again'
            )


@dataclass(frozen=True, slots=True)
class Pose:
    """Pose of another camera in the optical frame of the first; in units of `MultiView`, or [m].

    Args:
        T_first_second: (4, 4) float64, maps points of the second optical frame to the first.
        covariance: (6, 6) float64 in the order of geometry_msgs: x y z, then rotations about the
            x y z axes of the first frame [rad]. It does not include the error of the unit.
        inliers: fraction of the compared pixels that agree with the pose, 0..1.
        compared: number of compared pixels.
    """

    T_first_second: NDArray[np.float64]
    covariance: NDArray[np.float64]
    inliers: float
    compared: int

    @property
    def length(self) -> float:
        """Distance between the cameras."""
        return float(np.linalg.norm(self.T_first_second[:3, 3]))

    @property
    def length_std(self) -> float:
        """Standard deviation of `length`; if it is 0, of the least certain direction."""
        t, c = self.T_first_second[:3, 3], self.covariance[:3, :3]
        along = t @ c @ t / (t @ t) if self.length > 0 else np.linalg.eigvalsh(c)[-1]
        return float(np.sqrt(max(along, 0.0)))

    def scaled(self, factor: float, error: float = 0.0) -> Pose:
        """The pose in another unit of length.

        Args:
            factor: new units per present unit.
            error: relative standard deviation of `factor`; it is added to the covariance.
        """
        units = np.array([factor] * 3 + [1.0] * 3)
        covariance = self.covariance * np.outer(units, units)
        T = self.T_first_second.copy()
        T[:3, 3] *= factor
        covariance[:3, :3] += error**2 * np.outer(T[:3, 3], T[:3, 3])
        return replace(self, T_first_second=T, covariance=covariance)


@dataclass(frozen=True, slots=True)
class MultiView:
    """Output of a network for several views, up to one factor for all lengths; NaN if unknown.

    Args:
        z: (H, W) float32, depth of the first view's pixels along its optical axis.
        confidence: (H, W) float32, larger is more certain, in the network's unit.
        poses: of the other cameras, in their order; None for one whose image overlaps too little.
    """

    z: Tensor
    confidence: Tensor
    poses: tuple[Pose | None, ...]
