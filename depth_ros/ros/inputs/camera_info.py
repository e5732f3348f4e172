# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo: which one belongs to an image; conversion from and to `Camera`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CameraInfo

from depth_ros.core.camera import DISTORTION_MODELS, Camera, check_calibration
from depth_ros.core.errors import CameraError

ASPECT_TOLERANCE = 0.01  #: of a camera_info that only differs in scale
#: how long an image waits for a camera_info that fits better than those at hand [s]
INFO_WAIT_S = 0.1
#: names of a lens without distortion, where all coefficients are zero
PINHOLE = ('', 'none', 'pinhole', 'perspective')


@dataclass(frozen=True, slots=True)
class Calibration:
    """The camera of an image, as its camera_info has it.

    Args:
        camera: of the image.
        source: which matrices it is from, and why those; for the log.
        doubts: what is possible but unlikely, with the remedy.
    """

    camera: Camera
    source: str
    doubts: tuple[str, ...]


def camera_from(info: CameraInfo, width: int, height: int, rectified: bool | None) -> Camera:
    """The camera of an image of width x height; see `calibration_from`."""
    return calibration_from(info, width, height, rectified).camera


def calibration_from(
    info: CameraInfo, width: int, height: int, rectified: bool | None, because: str = ''
) -> Calibration:
    """The camera of an image of width x height.

    Args:
        info: K and D are for the raw image, P for the rectified one, all at the calibrated size;
            roi and binning say how the published image was cut from it (REP 104).
        width: columns of the image.
        height: rows of it.
        rectified: use P without distortion; False: K with D; None: P if the lens has no
            distortion.
        because: why `rectified` is not None, for `Calibration.source`.

    Raises:
        CameraError: not calibrated, no intrinsics that a camera has, or made for an image of
            another aspect ratio.
    """
    if not any((*info.k, *info.p)):
        raise CameraError(
            'camera_info is all zeros: the camera is not calibrated. Calibrate it '
            '(ros2 run camera_calibration cameracalibrator) and give the result to the driver.'
        )
    if rectified is None:
        if model_of(info) == 'equidistant' and not len(info.d):
            raise CameraError(
                "distortion_model is 'equidistant' without coefficients: publish its four (zeros "
                'for an ideal fisheye lens), or set rectification to rectified if the image has '
                'no distortion'
            )
        rectified = _has_no_distortion(info)
        because = 'camera_info has no distortion' if rectified else 'camera_info has distortion'
    size = info.width or width, info.height or height
    if rectified:
        matrix, camera, doubts = _without_distortion(info, size)
    else:
        matrix, (camera, doubts) = 'K and D', _from('K', info, size, _lens(info))
    camera = _of_image(camera, info, width, height)
    return Calibration(camera, f'{matrix} of camera_info ({because})', tuple(doubts))


def _has_no_distortion(info: CameraInfo) -> bool:
    """Whether the lens is a pinhole; coefficients of zero say so of polynomial models only."""
    return _is_polynomial(model_of(info)) and not any(info.d)


def _is_polynomial(model: str) -> bool:
    return model in PINHOLE or (model in DISTORTION_MODELS and model != 'equidistant')


def _without_distortion(info: CameraInfo, size: tuple[int, int]) -> tuple[str, Camera, list[str]]:
    """The camera by P, or by K where P is a placeholder: which of them, camera and doubts.

    Raises:
        CameraError: neither is possible.
    """
    if not any(info.p):
        camera, doubts = _from('K', info, size)
        if not _has_no_distortion(info):
            doubts.append(
                'P of camera_info is all zeros: K of the raw image is used for a rectified one, '
                'which is seldom right: publish P, or set rectification to raw'
            )
        return 'K', camera, doubts
    try:
        return 'P', *_from('P', info, size)
    except CameraError as error:
        try:
            camera, doubts = _from('K', info, size)
        except CameraError:
            raise error from None
        return 'K', camera, [*doubts, f'K of camera_info is used, because {error}']


def _from(
    matrix: str,
    info: CameraInfo,
    size: tuple[int, int],
    lens: tuple[str, tuple[float, ...]] = ('', ()),
) -> tuple[Camera, list[str]]:
    """The camera of the calibrated image by K or P, and doubts.

    Raises:
        CameraError: no camera has such intrinsics.
    """
    k, p = info.k, info.p
    fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if matrix == 'P' else (k[0], k[4], k[2], k[5])
    try:
        camera = Camera(*size, float(fx), float(fy), float(cx), float(cy), *lens)
        return camera, check_calibration(camera)
    except CameraError as error:
        raise CameraError(f'{matrix} of camera_info: {error}') from None


def _lens(info: CameraInfo) -> tuple[str, tuple[float, ...]]:
    """Distortion model and coefficients; surplus coefficients that are zero are dropped."""
    model, d = model_of(info), tuple(map(float, info.d))
    if _is_polynomial(model) and not any(d):
        return '', ()
    if model in PINHOLE:
        model = 'plumb_bob'  # coefficients without a name
    counts = DISTORTION_MODELS.get(model, (0,))
    if model == 'equidistant' and not d:
        d = (0.0,) * 4
    while len(d) > min(counts) and len(d) not in counts and d[-1] == 0:
        d = d[:-1]
    return model, d


def model_of(info: CameraInfo) -> str:
    """The distortion model of a camera_info by the name that `Camera` knows."""
    name = info.distortion_model.strip().lower()
    return 'equidistant' if name == 'fisheye' else name  # OpenCV's name for it


def _of_image(camera: Camera, info: CameraInfo, width: int, height: int) -> Camera:
    """The camera of an image of width x height, from that of the calibrated image.

    Raises:
        CameraError: the image is no part of the calibrated one, nor the same in another size.
    """
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


def _as_published(camera: Camera, info: CameraInfo) -> Camera:
    """Apply region of interest and binning.

    Raises:
        CameraError: no pixel of the calibrated image is left.
    """
    roi = info.roi
    if roi.width and roi.height:
        if roi.x_offset + roi.width > camera.width or roi.y_offset + roi.height > camera.height:
            raise CameraError(
                f'roi of camera_info is {roi.width}x{roi.height} at ({roi.x_offset}, '
                f'{roi.y_offset}), not within {camera.width}x{camera.height}: correct it in the '
                'driver'
            )
        camera = camera.cropped(roi.x_offset, roi.y_offset, roi.width, roi.height)
    bx, by = max(info.binning_x, 1), max(info.binning_y, 1)
    if bx > camera.width or by > camera.height:
        raise CameraError(
            f'binning of camera_info is {bx}x{by} for {camera.width}x{camera.height} pixels: '
            'correct it in the driver'
        )
    return camera.resized(camera.width // bx, camera.height // by)


def to_message(camera: Camera, header: Any) -> CameraInfo:
    """CameraInfo of an undistorted camera: D zero, R identity, P = [K | 0]."""
    fx, fy, cx, cy = map(float, (camera.fx, camera.fy, camera.cx, camera.cy))
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
