# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo -> `Camera` of an image, and back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from depth_ros.core.camera import DISTORTION_MODELS, Camera, check_calibration
from depth_ros.core.errors import CameraError

ASPECT_TOLERANCE = 0.01  #: of a camera_info that only differs in scale
#: names of a lens without distortion, where all coefficients are zero
PINHOLE = ('', 'none', 'pinhole', 'perspective')
#: other names of distortion models: of OpenCV, PTAM and Kalibr
ALIASES = {'fisheye': 'equidistant', 'atan': 'fov', 'ds': 'double_sphere'}
#: models whose coefficients of zero say that the lens has no distortion
_POLYNOMIALS = ('plumb_bob', 'rational_polynomial')


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


def camera_from(info: Any, width: int, height: int, rectified: bool | None) -> Camera:
    """The camera of an image of width x height; see `calibration_from`."""
    return calibration_from(info, width, height, rectified).camera


def calibration_from(
    info: Any, width: int, height: int, rectified: bool | None, because: str = ''
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


def _has_no_distortion(info: Any) -> bool:
    """Whether the lens is a pinhole; coefficients of zero say so of polynomial models only."""
    return _is_polynomial(model_of(info)) and not any(info.d)


def _is_polynomial(model: str) -> bool:
    return model in PINHOLE or model in _POLYNOMIALS


def _without_distortion(info: Any, size: tuple[int, int]) -> tuple[str, Camera, list[str]]:
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
    info: Any,
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


def _lens(info: Any) -> tuple[str, tuple[float, ...]]:
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


def model_of(info: Any) -> str:
    """The distortion model of a camera_info by the name that `Camera` knows."""
    name: str = info.distortion_model.strip().lower()
    return ALIASES.get(name, name)


def _of_image(camera: Camera, info: Any, width: int, height: int) -> Camera:
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


def _as_published(camera: Camera, info: Any) -> Camera:
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


def info_topic(topic: str, infos: Collection[str]) -> str:
    """The camera_info beside a topic of images; else the only one; '' for none.

    Args:
        topic: of the images.
        infos: all topics of camera_info.
    """
    base = topic.removesuffix('/compressed').rpartition('/')[0]
    beside = f'{base}/camera_info'
    if beside in infos:
        return beside
    return next(iter(infos)) if len(infos) == 1 else ''


def how_rectified(rectification: str, topic: str) -> tuple[bool | None, str]:
    """Whether the images of a topic are rectified, and why; None where camera_info decides.

    Args:
        rectification: the parameter.
        topic: of the images.
    """
    known = {'rectified': True, 'raw': False}.get(rectification)
    if known is None and named_rectified(topic):
        return True, f'the topic {topic} is named so'
    return known, f'rectification is {rectification}'


def named_rectified(topic: str) -> bool:
    """Whether a part of a topic's name says that its images are rectified.

    So do image_rect, image_rect_color, rect, left_rect and rectified; rectangular, unrectified
    and non_rectified do not.
    """
    parts = (set(part.lower().split('_')) for part in topic.split('/'))
    return any(
        words & {'rect', 'rectified'} and not words & {'no', 'non', 'not'} for words in parts
    )


def fields_of(camera: Camera) -> dict[str, Any]:
    """What a camera_info says of a camera: R is the identity and P = [K | 0].

    D is zero for an undistorted camera. For a lens it is that of the raw image, whose pinhole with
    the same K has P.
    """
    fx, fy, cx, cy = map(float, (camera.fx, camera.fy, camera.cx, camera.cy))
    return {
        'width': camera.width,
        'height': camera.height,
        'distortion_model': camera.distortion_model or 'plumb_bob',
        'd': list(camera.distortion) or [0.0] * 5,
        'k': [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        'r': [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        'p': [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
