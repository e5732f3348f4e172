# SPDX-License-Identifier: Apache-2.0
"""The camera of each recorded image: given by the user, of the recording, or estimated."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch

from depth_ros.core.camera import Camera, check_calibration
from depth_ros.core.errors import CameraError
from depth_ros.messages.camera_info import Calibration
from depth_ros.models import EstimatesCamera
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.recorded import Recorded
from depth_ros.pipeline.depth_pipeline import Pipeline
from depth_ros.pipeline.steady_camera import SteadyCamera


@dataclass(frozen=True, slots=True)
class GivenCamera:
    """What a command line says of the camera.

    Args:
        fx: focal length [px].
        fy: focal length [px]; None for fx.
        cx: principal point [px]; None for the centre of the image.
        cy: principal point [px]; None for the centre of the image.
        hfov: horizontal field of view [deg], instead of fx.
    """

    fx: float | None = None
    fy: float | None = None
    cx: float | None = None
    cy: float | None = None
    hfov: float | None = None

    def values(self) -> dict[str, float]:
        """Those that are given, by name."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}

    def of(self, image: ImageFile) -> Camera:
        """Camera of an image, as given here, else by its EXIF data.

        Raises:
            CameraError: focal length and field of view are both missing, both given, or invalid.
        """
        height, width = image.rgb.shape[:2]
        if self.fx is None and self.hfov is None and image.focal_px is None:
            raise CameraError(
                'give the focal length by one of --fx [px] and --hfov [deg]: the file does not '
                'have it (EXIF FocalLengthIn35mmFilm)'
            )
        if self.fx is not None and self.hfov is not None:
            raise CameraError(
                'give the focal length by one of --fx [px] and --hfov [deg], not both'
            )
        for name, value in (('fx', self.fx), ('fy', self.fy)):
            if value is not None and not value > 0:
                raise CameraError(f'--{name} is {value:g}; a focal length must be above 0 px')
        if self.hfov is not None and not 0 < self.hfov < 180:
            raise CameraError(f'--hfov is {self.hfov:g}; it must be above 0 and below 180 deg')
        if self.hfov is not None:
            fx: float | None = width / 2 / math.tan(math.radians(self.hfov / 2))
        else:
            fx = image.focal_px if self.fx is None else self.fx
        assert fx is not None  # one of the three is there
        cx = (width - 1) / 2 if self.cx is None else self.cx
        cy = (height - 1) / 2 if self.cy is None else self.cy
        camera = Camera(width, height, fx, self.fy or fx, cx, cy)
        check_calibration(camera)
        return camera


def find_camera(recorded: Recorded, image: ImageFile, given: GivenCamera) -> Calibration:
    """The camera of an image: given by the user, else of the recording, else by EXIF data.

    Returns:
        With '' as source where the user has given it.

    Raises:
        CameraError: it is not known, or invalid.
    """
    height, width = image.rgb.shape[:2]
    if recorded.calibration is not None and not given.values():
        return recorded.calibration(width, height)
    camera, source = given.of(image), ''
    if given.fx is None and given.hfov is None:
        source = (
            f'field of view {camera.hfov_deg:.1f} x {camera.vfov_deg:.1f} deg: '
            f'{image.focal_35mm:g} mm on 35 mm film by EXIF. If the photo was cropped, give --hfov'
        )
    return Calibration(camera, source, tuple(check_calibration(camera)))


class Cameras:
    """Finds the camera of each image, and prints where it comes from, each only once.

    Args:
        given: by the user; replaces that of a recording.
        pipeline: estimates it where `intrinsics` is estimated.
        quiet: print warnings only.
    """

    def __init__(self, given: GivenCamera, pipeline: Pipeline, *, quiet: bool = False) -> None:
        self.given = given
        self.quiet = quiet
        self.pipeline = pipeline
        self._printed: set[str] = set()
        self._videos: dict[str, SteadyCamera] = {}

    def __call__(self, recorded: Recorded, image: ImageFile, rgb: torch.Tensor) -> Camera:
        """The camera of an image.

        Args:
            recorded: the image.
            image: its pixels, and what its file says.
            rgb: (H, W, 3) uint8, the pixels on the device.

        Raises:
            CameraError: it is not known, or invalid.
        """
        height, width = image.rgb.shape[:2]
        if image.orientation != 1:
            self._say(
                f'turned upright by EXIF orientation {image.orientation}: now {width}x{height}'
            )
        if self.pipeline.snapshot.settings.intrinsics == 'estimated':
            return self._estimated(recorded, rgb)
        found = find_camera(recorded, image, self.given)
        if found.source:
            self._say(f'camera {found.camera}; {found.source}')
        self._warn(found.doubts)
        return found.camera

    def _estimated(self, recorded: Recorded, rgb: torch.Tensor) -> Camera:
        assert isinstance(self.pipeline.model, EstimatesCamera)  # `build` refuses others
        estimate = self.pipeline.model.estimate_camera
        if recorded.is_frame:
            video = recorded.name.rpartition('/')[0]
            estimate = self._videos.setdefault(video, SteadyCamera(estimate, label=f'{video}: '))
        camera = estimate(rgb)
        self._say(f'camera {camera}, estimated by the network')
        return camera

    def _warn(self, doubts: Iterable[str]) -> None:
        for doubt in doubts:
            self._say(f'warning: {doubt}', warning=True)

    def _say(self, text: str, *, warning: bool = False) -> None:
        if text not in self._printed and (warning or not self.quiet):
            self._printed.add(text)
            print(text, file=sys.stderr if warning else sys.stdout)
