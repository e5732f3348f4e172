# SPDX-License-Identifier: Apache-2.0
"""The camera model of a topic's images: from camera_info or estimated, logged once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sensor_msgs.msg import CameraInfo
from torch import Tensor

from depth_ros.core.camera import KEEP_K, Camera, check_calibration
from depth_ros.core.geometry import check_undistortion
from depth_ros.core.lens import field_of_view_deg, pinhole
from depth_ros.messages.camera_info import calibration_from, how_rectified
from depth_ros.models import Preset
from depth_ros.parameters.settings import Undistort
from depth_ros.pipeline.steady_camera import SteadyCamera
from depth_ros.pipeline.wide import WIDE, tiles_of
from depth_ros.ros.inputs.newest import View
from depth_ros.ros.process.log import Throttle

#: different cameras that are logged at once within the throttle's period; one that zooms is not
#: logged at every frame
BURST = 3
#: times that a field of view is wider than that of the training images, from which it is a warning
FAR_BEYOND = 1.5


class CameraModelSource:
    """The camera of the images of a topic: from camera_info, or estimated from the images.

    A new camera is logged once, with warnings about what may not be meant.

    Args:
        log: logger of the node.
        label: prefix of each log line; identifies one of several cameras.
        topic: full name of the image topic, which may say that the image is rectified.
        rectification: the parameter.
        estimate: estimates the camera from the images; None uses camera_info.
        undistort: the parameters `undistort.*`.
        preset: of the network, whose training images a camera may differ from; None if unknown.
    """

    def __init__(
        self,
        log: Any,
        label: str,
        topic: str,
        rectification: str,
        estimate: SteadyCamera | None = None,
        undistort: Undistort | None = None,
        preset: Preset | None = None,
    ) -> None:
        self.log = log
        self.label = label
        self.camera: Camera | None = None  #: of the latest image
        self.estimate = estimate
        self.doubts: tuple[str, ...] = ()  #: what is unlikely about `camera`
        self._undistort = undistort or Undistort()
        self._preset = preset
        self._rectified, self._because = how_rectified(rectification, topic)
        self._throttle = Throttle(BURST)
        self._seen: Any = None
        self._unlogged: list[tuple[str, str]] = []  # severity and text

    @property
    def source(self) -> str:
        """Where the intrinsics come from, for log and diagnostics."""
        return self.estimate.state if self.estimate else 'camera_info'

    def camera_for(self, view: View, rgb: Tensor) -> Camera:
        """The camera of an image.

        Args:
            view: the messages.
            rgb: the decoded image, (H, W, 3) uint8, on the device.

        Raises:
            CameraError: not calibrated, or calibrated for another aspect ratio.
        """
        if self.estimate is None:
            return self.from_camera_info(view, rgb.shape[1], rgb.shape[0])
        camera = self.estimate(rgb)
        doubts = tuple(check_calibration(camera))
        frame_id = view.image.header.frame_id
        if self._is_new((camera, frame_id)):
            self.camera, self.doubts = camera, doubts
            self._announce(f'K is {self.source}', frame_id, _of_frame(frame_id))
        self._log()
        return camera

    def from_camera_info(self, view: View, width: int, height: int) -> Camera:
        """The camera of an image of that size [px], by its camera_info.

        Raises:
            CameraError: not calibrated, no intrinsics that a camera has, calibrated for another
                aspect ratio, distortion that leaves next to nothing of the image, or no pinhole
                that `undistort.zoom` asks for.
        """
        info = view.info
        assert info is not None  # `LatestImage` waits for one
        found = calibration_from(info, width, height, self._rectified, self._because)
        camera, doubts = found.camera, found.doubts
        if self._undistort.projection == WIDE:
            tiles_of(camera, self._undistort)  # refuses what cannot be
        elif camera.is_distorted:
            doubts = (*doubts, *check_undistortion(camera))
            pinhole(camera, self._undistort.zoom)  # likewise
        frame_id = view.image.header.frame_id
        if self._is_new((found, frame_id, info.header.frame_id, info.width, info.height)):
            self.camera, self.doubts = camera, doubts
            others = [*_mismatches(info, camera, frame_id), *_of_frame(frame_id)]
            self._announce(found.source, frame_id, others)
        self._log()
        return camera

    def _is_new(self, what: Any) -> bool:
        if what == self._seen:
            return False
        self._seen = what
        return True

    def _announce(self, source: str, frame_id: str, warnings: Iterable[str]) -> None:
        """Have `camera` logged, with warnings about what may not be meant."""
        camera = self.camera
        assert camera is not None
        across, down, what = self._shown(camera)
        text = (
            f'camera {camera}; field of view {across:.1f} x {down:.1f} deg, '
            f'frame {frame_id!r}; {source}{what}'
        )
        self._unlogged = [('info', text)]
        others = (*self.doubts, *warnings, *self._beyond_training(camera))
        self._unlogged += [('warning', warning) for warning in others]

    def _beyond_training(self, camera: Camera) -> list[str]:
        """Why the network may not know images of so wide a field of view."""
        settings, preset = self._undistort, self._preset
        if preset is None or preset.trained is None:
            return []
        is_wide = settings.projection == WIDE
        seen = tiles_of(camera, settings)[0].camera if is_wide else pinhole(camera, settings.zoom)
        field_deg = seen.hfov_deg, seen.vfov_deg
        if preset.trained.exceeded(*field_deg) < FAR_BEYOND:
            return []
        remedy = (
            'a smaller undistort.tile_fov'
            if is_wide
            else 'undistort.projection wide, a narrower lens'
        )
        return [
            f'{preset.name} was trained with a field of view of {preset.trained}; it sees '
            f'{field_deg[0]:.0f} x {field_deg[1]:.0f} deg, and may be wrong at the edges: '
            f'compare distances there, or try {remedy} or another network'
        ]

    def _shown(self, camera: Camera) -> tuple[float, float, str]:
        """Horizontal and vertical field of view that is used [deg], and what becomes of it."""
        settings = self._undistort
        if settings.projection == WIDE:
            tiles = tiles_of(camera, settings)
            field_deg = tiles[0].camera.hfov_deg
            what = f', seen by the network as {len(tiles)} pinholes of {field_deg:.0f} deg'
            return *field_of_view_deg(camera), what
        target = pinhole(camera, settings.zoom)
        what = ', undistorting' if camera.is_distorted else ''
        if camera.is_distorted and settings.zoom != KEEP_K:
            what += f' with undistort.zoom {settings.zoom} to {target}'
        return target.hfov_deg, target.vfov_deg, what

    def _log(self) -> None:
        """Log what is due; the rest is tried again with the next image."""
        rest = []
        for severity, text in self._unlogged:
            if not self._throttle.due(text):
                rest.append((severity, text))
            elif severity == 'info':
                self.log.info(self.label + text)
            else:
                self.log.warning(self.label + text)
        self._unlogged = rest


def _of_frame(frame_id: str) -> list[str]:
    if 'optical' in frame_id:
        return []
    return [
        f'frame_id {frame_id!r} does not say optical: clouds are right only if its z axis '
        'looks forward (REP 103)'
    ]


def _mismatches(info: CameraInfo, camera: Camera, frame_id: str) -> Iterator[str]:
    if (info.width, info.height) != (camera.width, camera.height):
        yield (
            f'camera_info says {info.width}x{info.height}, the image is '
            f'{camera.width}x{camera.height}: the intrinsics are scaled to the image'
        )
    if camera.is_distorted and (info.distortion_model, len(info.d)) != (
        camera.distortion_model,
        len(camera.distortion),
    ):
        yield (
            f'camera_info has distortion_model {info.distortion_model!r} with {len(info.d)} '
            f'coefficients, used as {camera.distortion_model} with {len(camera.distortion)}'
        )
    if info.header.frame_id != frame_id:
        yield (
            f'image frame_id is {frame_id!r} but camera_info says {info.header.frame_id!r}; '
            "the image's is used"
        )
