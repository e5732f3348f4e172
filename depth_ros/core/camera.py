# SPDX-License-Identifier: Apache-2.0
"""Camera intrinsics together with the image size they refer to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from depth_ros.core.errors import CameraError

#: Numbers of coefficients OpenCV accepts for its polynomial model, which covers both names below.
_POLYNOMIAL = (4, 5, 8, 12, 14)
#: Distortion model of CameraInfo -> numbers of coefficients. Drivers confuse the first two names.
DISTORTION_MODELS = {
    'plumb_bob': _POLYNOMIAL,
    'rational_polynomial': _POLYNOMIAL,
    'equidistant': (4,),
}


@dataclass(frozen=True, slots=True)
class Camera:
    """Intrinsics of a pinhole camera, and its lens distortion.

    Integer coordinates are pixel centres, as in ROS: (0, 0) is the centre of the first pixel.

    Args:
        width: columns of the image the intrinsics belong to [px].
        height: rows of that image [px].
        fx: focal length along x [px].
        fy: focal length along y [px].
        cx: column of the principal point [px].
        cy: row of the principal point [px].
        distortion_model: a key of `DISTORTION_MODELS`, or '' for a rectified camera.
        distortion: its coefficients in the order of sensor_msgs/CameraInfo.d.

    Raises:
        CameraError: the size or the focal length is not positive, a value is not finite, or the
            distortion model is unknown or has a wrong number of coefficients.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = ''
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check all values; see Raises of the class."""
        if self.width <= 0 or self.height <= 0:
            raise CameraError(f'camera size is {self.width}x{self.height}; both must be positive')
        if not all(
            math.isfinite(v) for v in (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        ):
            raise CameraError(f'intrinsics are not finite: {self}')
        if self.fx <= 0 or self.fy <= 0:
            raise CameraError(
                f'focal length is fx={self.fx:g}, fy={self.fy:g}: the camera is not calibrated. '
                'Calibrate it (camera_calibration) and let the driver publish the result.'
            )
        if not self.distortion_model:
            return
        counts = DISTORTION_MODELS.get(self.distortion_model)
        if counts is None:
            raise CameraError(
                f'distortion_model is {self.distortion_model!r}; known: '
                f'{sorted(DISTORTION_MODELS)}. Rectify the image first (image_proc) and '
                'subscribe to image_rect.'
            )
        if len(self.distortion) not in counts:
            raise CameraError(
                f'distortion_model {self.distortion_model!r} has {len(self.distortion)} '
                f'coefficients; it takes {" or ".join(map(str, counts))}'
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), the order of array shapes."""
        return self.height, self.width

    @property
    def hfov_deg(self) -> float:
        """Horizontal field of view of the undistorted camera [deg]."""
        return math.degrees(
            math.atan((self.cx + 0.5) / self.fx)
            + math.atan((self.width - 0.5 - self.cx) / self.fx)
        )

    @property
    def vfov_deg(self) -> float:
        """Vertical field of view of the undistorted camera [deg]."""
        return math.degrees(
            math.atan((self.cy + 0.5) / self.fy)
            + math.atan((self.height - 0.5 - self.cy) / self.fy)
        )

    @property
    def is_distorted(self) -> bool:
        """Whether the lens has distortion: a model with coefficients that are not all zero."""
        return bool(self.distortion_model) and any(self.distortion)

    def undistorted(self) -> Camera:
        """The camera with the same intrinsics and without distortion."""
        return replace(self, distortion_model='', distortion=())

    def resized(self, width: int, height: int) -> Camera:
        """The camera of the image resized to width x height; the aspect ratio may change.

        cx' = (cx + 0.5) s - 0.5, as integer coordinates are pixel centres. This is exact for
        cv2.resize and `interpolate(align_corners=False)`. image_proc uses cx' = cx s, which is
        off by 0.5 |1 - s| px.
        """
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """The camera of the image cropped to width x height pixels from column left, row top."""
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def __str__(self) -> str:
        """Size, intrinsics and distortion model in one line."""
        lens = f', {self.distortion_model}' if self.is_distorted else ''
        return (
            f'{self.width}x{self.height}, fx {self.fx:.1f} fy {self.fy:.1f} '
            f'cx {self.cx:.1f} cy {self.cy:.1f} px{lens}'
        )
