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
    'fov': (1,),
    'double_sphere': (2,),
}
#: of models whose coefficients are bounded: name, lowest and highest value
_BOUNDS = {
    'fov': (('w', 0.0, math.pi),),
    'double_sphere': (('xi', -1.0, 1.0), ('alpha', 0.0, 1.0)),
}
#: `undistort.zoom`: the intrinsics stay; no pixel without a source; all pixels of the lens
KEEP_K, KEEP_VALID, KEEP_ALL = ZOOMS = 'keep_k', 'keep_valid', 'keep_all'
CALIBRATE = 'Calibrate the camera (camera_calibration) and let the driver publish the result.'

# Limits of what is a camera. The first two are in sides of the image, so that they hold for any
# resolution: a focal length of f sides is a field of view of 2 atan(1 / 2f).
#: 175 deg as a pinhole
MIN_FOCAL = 0.02
#: 0.06 deg; a telescope has more
MAX_FOCAL = 1000.0
#: between fx and fy: pixels twice as high as wide exist (interlaced video), and squeezed images
MAX_ASPECT = 4.0
#: of the principal point from the image's edge, in sides
MAX_OFF_IMAGE = 1.0

# What is possible, but seldom meant
WIDE_DEG, NARROW_DEG = 150.0, 3.0  #: fields of view; K of a 360 deg fisheye lens has 145
UNUSUAL_ASPECT = 1.1
#: of the principal point from the middle, in sides; 0.04 is usual
OFF_CENTRE = 0.15


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
        CameraError: the size is not positive, a value is not finite, the focal length is not
            positive or none that a lens can have, or the distortion model is unknown or has a
            wrong number of coefficients.
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
            raise CameraError(
                f'camera size is {self.width}x{self.height}; both must be positive: give the size '
                'of the image'
            )
        intrinsics = self.fx, self.fy, self.cx, self.cy
        if not all(map(math.isfinite, (*intrinsics, *self.distortion))):
            shown = ' '.join(f'{v:g}' for v in (*intrinsics, *self.distortion))
            raise CameraError(f'intrinsics or coefficients are not finite ({shown}). {CALIBRATE}')
        self._check_focal_length()
        if self.distortion_model:
            self._check_distortion()

    def _check_focal_length(self) -> None:
        given = f'focal length is fx={self.fx:g}, fy={self.fy:g}'
        if self.fx < 0 or self.fy < 0:
            raise CameraError(
                f'{given}; it must be positive: correct the sign in the driver. In the optical '
                'frame x is right, y down and z forward (REP 103)'
            )
        if self.fx == 0 or self.fy == 0:
            raise CameraError(f'{given}: the camera is not calibrated. {CALIBRATE}')
        given = f'{given} px for an image of {self.width}x{self.height}'
        if self.fx < MIN_FOCAL * self.width or self.fy < MIN_FOCAL * self.height:
            raise CameraError(
                f'{given}, which no lens has: it may be a default of the driver, or of another '
                f'image size. {CALIBRATE}'
            )
        if max(self.fx, self.fy) > MAX_FOCAL * max(self.width, self.height):
            raise CameraError(f'{given}, which no lens has: it may not be in pixels. {CALIBRATE}')

    def _check_distortion(self) -> None:
        counts = DISTORTION_MODELS.get(self.distortion_model)
        if counts is None:
            raise CameraError(
                f'distortion_model is {self.distortion_model!r}; known: '
                f'{sorted(DISTORTION_MODELS)}. Rectify the image first (image_proc) and '
                'subscribe to image_rect; if it has no distortion, set rectification to rectified.'
            )
        if len(self.distortion) not in counts:
            raise CameraError(
                f'distortion_model {self.distortion_model!r} has {len(self.distortion)} '
                f'coefficients; it takes {" or ".join(map(str, counts))}: set the model that the '
                'camera was calibrated with, and all of its coefficients'
            )
        bounds = _BOUNDS.get(self.distortion_model, ())
        for value, (name, low, high) in zip(self.distortion, bounds, strict=False):
            if not low <= value <= high:
                raise CameraError(
                    f'coefficient {name} of distortion_model {self.distortion_model!r} is '
                    f'{value:g}, not within {low:g} to {high:g}: check the order of the '
                    f'coefficients. {CALIBRATE}'
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
        """Whether the image differs from a pinhole's.

        That needs coefficients that are not all zero, except for an equidistant lens: with zeros
        it is an ideal fisheye, r = f theta.
        """
        return self.distortion_model == 'equidistant' or (
            bool(self.distortion_model) and any(self.distortion)
        )

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


def check_calibration(camera: Camera) -> list[str]:
    """Judge intrinsics that come from outside.

    Args:
        camera: of the whole calibrated image. An image that was cut out of it or squeezed for a
            network may have any principal point and aspect.

    Returns:
        What is possible but unlikely, with value and remedy.

    Raises:
        CameraError: no camera has such intrinsics.
    """
    size = f'{camera.width}x{camera.height}'
    focal = f'focal length is fx={camera.fx:g}, fy={camera.fy:g} px for an image of {size}'
    if min(camera.fx, camera.fy) <= 1:
        raise CameraError(f'{focal}: that is a default of the driver. {CALIBRATE}')
    aspect = max(camera.fx, camera.fy) / min(camera.fx, camera.fy)
    if aspect > MAX_ASPECT:
        raise CameraError(f'{focal}: pixels are never so far from square. {CALIBRATE}')
    centre = f'principal point is ({camera.cx:g}, {camera.cy:g}) in an image of {size}'
    off = max(
        abs((c + 0.5) / side - 0.5)
        for c, side in ((camera.cx, camera.width), (camera.cy, camera.height))
    )
    if off > 0.5 + MAX_OFF_IMAGE:
        raise CameraError(f'{centre}, far outside. {CALIBRATE}')
    doubts = []
    for name, f, side in (
        ('horizontal', camera.fx, camera.width),
        ('vertical', camera.fy, camera.height),
    ):
        field_deg = math.degrees(2 * math.atan(side / 2 / f))
        if not NARROW_DEG <= field_deg <= WIDE_DEG:
            doubts.append(
                f'{focal}, a {name} field of view of {field_deg:.3g} deg: check that the '
                'calibration is of this image size'
            )
    if aspect > UNUSUAL_ASPECT:
        doubts.append(
            f'{focal}: pixels are seldom so far from square: check that the calibration is of '
            'this image shape'
        )
    if off > OFF_CENTRE:
        where = 'outside' if off > 0.5 else 'far from the middle'
        doubts.append(
            f'{centre}, {where}: if the image was cut out of the calibrated one, set roi in '
            'camera_info, else calibrate again'
        )
    return doubts
