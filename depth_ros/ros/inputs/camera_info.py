# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo: which one belongs to an image; conversion from and to `Camera`."""

from __future__ import annotations

from collections import deque
from typing import Any

from sensor_msgs.msg import CameraInfo

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError

ASPECT_TOLERANCE = 0.01  #: of a camera_info that only differs in scale
#: how long an image waits for a camera_info that fits better than those at hand [s]
INFO_WAIT_S = 0.1


def camera_from(info: CameraInfo, width: int, height: int, rectified: bool | None) -> Camera:
    """The camera of an image of width x height.

    Args:
        info: K and D are for the raw image, P for the rectified one, all at the calibrated size;
            roi and binning say how the published image was cut from it (REP 104).
        width: columns of the image.
        height: rows of it.
        rectified: use P without distortion; False: K with D; None: P if all of D is zero.

    Raises:
        CameraError: not calibrated (zeros), or made for an image of another aspect ratio.
    """
    if rectified is None:
        rectified = not any(info.d)
    k, p = info.k, info.p
    of_p, of_k = (p[0], p[5], p[2], p[6]), (k[0], k[4], k[2], k[5])
    intrinsics = of_p if rectified and any(of_p) else of_k
    if not any(intrinsics):
        raise CameraError(
            'camera_info is all zeros: the camera is not calibrated. Calibrate it '
            '(ros2 run camera_calibration cameracalibrator) and give the result to the driver.'
        )
    lens = ('', ()) if rectified or not any(info.d) else (_model(info), tuple(info.d))
    camera = Camera(info.width or width, info.height or height, *intrinsics, *lens)
    if (width, height) == (camera.width, camera.height):
        return camera
    camera = _as_published(camera, info)
    if (width, height) == (camera.width, camera.height):
        return camera
    sx, sy = width / camera.width, height / camera.height
    if abs(sx / sy - 1) > ASPECT_TOLERANCE:
        raise CameraError(
            f'image is {width}x{height} but camera_info says {camera.width}x{camera.height}, '
            'another shape. Publish both from the same stream, or set roi in camera_info.'
        )
    return camera.resized(width, height)


def _model(info: CameraInfo) -> str:
    """The distortion model, also where a driver gives coefficients without a name."""
    if info.distortion_model == 'fisheye':  # OpenCV's name for it
        return 'equidistant'
    return info.distortion_model or 'plumb_bob'


def _as_published(camera: Camera, info: CameraInfo) -> Camera:
    """Apply region of interest and binning."""
    roi = info.roi
    if roi.width and roi.height:
        camera = camera.cropped(roi.x_offset, roi.y_offset, roi.width, roi.height)
    bx, by = max(info.binning_x, 1), max(info.binning_y, 1)
    return camera.resized(camera.width // bx, camera.height // by)


def to_message(camera: Camera, header: Any) -> CameraInfo:
    """CameraInfo of an undistorted camera: D zero, R identity, P = [K | 0]."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


class CameraInfoCache:
    """The latest camera_info messages of one camera, and the choice among them."""

    def __init__(self) -> None:
        self._recent: deque[CameraInfo] = deque(maxlen=10)
        self._accepted: set[Any] = set()  # mismatches that were taken after waiting in vain

    def add(self, info: CameraInfo) -> None:
        """Keep a message."""
        self._recent.append(info)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._recent)

    def info_for(self, image: Any, waited_s: float) -> CameraInfo | None:
        """The camera_info of an image; None while a better one may still come.

        One of the image's stamp is taken at once, and so is one of its frame_id and size. Any
        other is taken after `INFO_WAIT_S`, in case the right one is late. For later images with
        the same mismatch it is taken at once.

        Args:
            image: sensor_msgs/Image or CompressedImage.
            waited_s: since the image arrived [s].
        """
        info = self.exact(image.header)
        if info is not None:
            return info
        # the size of a compressed image is known only after decoding
        size = (image.width, image.height) if hasattr(image, 'width') else None
        info = self.nearest(image.header, size)
        if info is None:
            return None
        described = (info.width, info.height)
        if info.header.frame_id == image.header.frame_id and size in (None, described):
            return info
        mismatch = (image.header.frame_id, size, info.header.frame_id, described)
        if waited_s >= INFO_WAIT_S:
            self._accepted.add(mismatch)
        return info if mismatch in self._accepted else None

    def exact(self, header: Any) -> CameraInfo | None:
        """The message of the image's stamp; of several, the one of its frame_id."""
        same = [i for i in reversed(self._recent) if i.header.stamp == header.stamp]
        of_frame = [i for i in same if i.header.frame_id == header.frame_id]
        return next(iter(of_frame or same), None)

    def nearest(self, header: Any, size: tuple[int, int] | None = None) -> CameraInfo | None:
        """The latest of the image's frame_id, preferably of its (width, height); else of all."""
        infos = [i for i in reversed(self._recent) if i.header.frame_id == header.frame_id]
        infos = infos or list(reversed(self._recent))
        of_size = [i for i in infos if (i.width, i.height) == size]
        return next(iter(of_size or infos), None)
