# SPDX-License-Identifier: Apache-2.0
"""An image whose depth was measured, and an input that has such images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera, check_calibration
from depth_ros.core.decode import decode
from depth_ros.core.errors import CameraError, ImageError
from depth_ros.core.geometry import undistort_depth
from depth_ros.messages.camera_info import Calibration
from depth_ros.offline import image_file
from depth_ros.offline.recorded import Recorded, Selection
from depth_ros.pipeline.two_views.poses import Pose4x4

Depth = NDArray[np.float32]
ASPECT_TOLERANCE = 0.01  #: of truth and image of different sizes


@dataclass(frozen=True, slots=True)
class Measured:
    """An image whose depth was measured.

    Args:
        recorded: the image.
        truth: (H, W) depth in the undistorted pixels of the image's camera, which is its argument
            [m]; NaN where not measured. May raise DepthRosError.
        time_s: since the start of the sequence [s].
        T_world_camera: (4, 4) [m], pose of the optical frame; None if it is not known.
        lacks_s: there is no depth at the time of the image, only at this distance [s]; 0 if there
            is.
    """

    recorded: Recorded
    truth: Callable[[Camera], Depth]
    time_s: float = 0.0
    T_world_camera: Pose4x4 | None = None
    lacks_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """An image file and a file with its depth.

    Args:
        image: path.
        depth: path of a PNG of 16 bits, registered to the image; 0 where not measured.
        per_metre: its value for one metre.
        camera: of the image; None if the folder does not have it.
        stamp_ns: time [ns].
        T_world_camera: (4, 4) [m], pose of the optical frame; None if it is not known.
        name: of the image in its folder; '' for that of the file.
    """

    image: Path
    depth: Path
    per_metre: float
    camera: Camera | None
    stamp_ns: int = 0
    T_world_camera: Pose4x4 | None = None
    name: str = ''

    def measured(self, name: str, first_ns: int, *, is_frame: bool) -> Measured:
        """The image under a name; its files are read later."""
        recorded = Recorded(
            name,
            lambda: image_file.read(self.image),
            self.stamp_ns,
            is_frame=is_frame,
            calibration=None if self.camera is None else partial(calibration_of, self.camera),
        )
        time_s = (self.stamp_ns - first_ns) * 1e-9
        return Measured(recorded, self._truth, time_s, self.T_world_camera)

    def _truth(self, camera: Camera) -> Depth:
        z = read_depth(self.depth, self.per_metre)
        return undistort_depth(resampled(z, camera.size, str(self.depth)), camera)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Image files with depth files: a folder in a known layout.

    Args:
        path: of the folder.
        name: of it in reports.
        layout: name of the layout.
        pairs: the images, in order.
        is_sequence: they are of one camera, in the order of time.
    """

    path: Path
    name: str
    layout: str
    pairs: tuple[Pair, ...]
    is_sequence: bool = False

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.pairs)

    @property
    def has_camera(self) -> bool:
        """Whether it tells the camera."""
        return all(pair.camera is not None for pair in self.pairs)

    def images(self, selection: Selection, rectification: str = 'auto') -> Iterator[Measured]:
        """Those that are used; their camera says whether they are rectified."""
        first_ns, given = self.pairs[0].stamp_ns, 0
        for k, pair in enumerate(self.pairs):
            if given == selection.limit:
                return
            if selection.uses(k, (pair.stamp_ns - first_ns) * 1e-9):
                own = pair.name or pair.image.stem
                name = f'{self.name}/{own}' if len(self.pairs) > 1 else self.name
                yield pair.measured(name, first_ns, is_frame=self.is_sequence)
                given += 1


def calibration_of(camera: Camera, width: int, height: int) -> Calibration:
    """`camera` for an image of width x height, which may be scaled.

    Raises:
        CameraError: no camera has such intrinsics, or the image is of another shape.
    """
    doubts = tuple(check_calibration(camera))
    if (width, height) != (camera.width, camera.height):
        if abs(width / height * camera.height / camera.width - 1) > ASPECT_TOLERANCE:
            raise CameraError(
                f'image is {width}x{height} but its intrinsics are of {camera.width}x'
                f'{camera.height}, another shape: give those of this image'
            )
        camera = camera.resized(width, height)
    return Calibration(camera, 'intrinsics beside the image', doubts)


def read_depth(path: Path, per_metre: float) -> Depth:
    """(H, W) [m] of a PNG of 16 bits, NaN for 0.

    Raises:
        ImageError: there is no such file, or it is no such PNG.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f'{path} is no depth: {error.strerror}; check the path') from error
    raw = decode(data, str(path), 'depth is a PNG of 16 bits')
    if raw.dtype != np.uint16 or raw.ndim != 2:
        raise ImageError(
            f'{path} has {raw.dtype} values in {raw.shape}; depth is a PNG of 16 bits, one channel'
        )
    return in_metres(raw, 1 / per_metre)


def in_metres(raw: NDArray[np.number], unit: float) -> Depth:
    """Measurements times their unit [m], float32; NaN where there is none: 0, NaN, Inf."""
    z = raw.astype(np.float32) * np.float32(unit)
    return np.where(np.isfinite(z) & (z > 0), z, np.float32(np.nan))


def resampled(z: Depth, size: tuple[int, int], what: str) -> Depth:
    """Depth at another size, each pixel from the nearest one: depths of two surfaces never mix.

    Raises:
        ImageError: the sizes have different shapes.
    """
    height, width = size
    if z.shape == size:
        return z
    if abs(z.shape[1] / z.shape[0] * height / width - 1) > ASPECT_TOLERANCE:
        raise ImageError(
            f'{what} is {z.shape[1]}x{z.shape[0]} and its image {width}x{height}, another shape: '
            'depth must be registered to the image'
        )
    return np.asarray(cv2.resize(z, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))
