# SPDX-License-Identifier: Apache-2.0
"""The camera model of a topic's images: from camera_info or estimated, logged once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sensor_msgs.msg import CameraInfo
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.pipeline.steady_camera import SteadyCamera
from depth_ros.ros.inputs.camera_info import camera_from
from depth_ros.ros.inputs.newest import View
from depth_ros.ros.process.log import Throttle

RECTIFIED = {'rectified': True, 'raw': False}


class CameraModelSource:
    """The camera of the images of a topic: from camera_info, or estimated from the images.

    A new camera is logged once, with warnings about what may not be meant.

    Args:
        log: logger of the node.
        label: begins each log line, to tell several cameras apart.
        topic: full name of the image topic, which may say that the image is rectified.
        rectification: the parameter.
        estimate: estimates the camera from the images; None uses camera_info.
    """

    def __init__(
        self,
        log: Any,
        label: str,
        topic: str,
        rectification: str,
        estimate: SteadyCamera | None = None,
    ) -> None:
        self.log = log
        self.label = label
        self.camera: Camera | None = None  #: of the latest image
        self.estimate = estimate
        named_rectified = re.search(r'(^|[/_])rect', topic)  # image_rect, left_rect
        self._rectified = RECTIFIED.get(rectification, True if named_rectified else None)
        self._throttle = Throttle()
        self._logged: Any = None

    @property
    def source(self) -> str:
        """Where the intrinsics come from, for log and diagnostics."""
        return self.estimate.state if self.estimate else 'camera_info'

    def camera_of(self, view: View, rgb: Tensor) -> Camera:
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
        self._log_once(camera, view, (camera, view.image.header.frame_id))
        return camera

    def from_camera_info(self, view: View, width: int, height: int) -> Camera:
        """The camera of an image of that size [px], by its camera_info.

        Raises:
            CameraError: not calibrated, or calibrated for another aspect ratio.
        """
        info = view.info
        assert info is not None  # `LatestImage` waits for one
        camera = camera_from(info, width, height, self._rectified)
        frames = view.image.header.frame_id, info.header.frame_id
        self._log_once(camera, view, (camera, *frames, info.width, info.height))
        return camera

    def _log_once(self, camera: Camera, view: View, what: Any) -> None:
        """Log a camera when it is new; one that zooms is not logged at every frame."""
        if what == self._logged:
            return
        self._logged = what
        self.camera = camera
        frame_id = view.image.header.frame_id
        text = (
            f'camera {camera}; field of view {camera.hfov_deg:.1f} x {camera.vfov_deg:.1f} deg, '
            f'frame {frame_id!r}' + ('; undistorting' if camera.is_distorted else '')
        )
        if self.estimate is not None:
            text += f'; K is {self.source}'
        if self._throttle.due(text):
            self.log.info(self.label + text)
        for warning in _warnings(camera, frame_id, view.info):
            if self._throttle.due(warning):
                self.log.warning(self.label + warning)


def _warnings(camera: Camera, frame_id: str, info: CameraInfo | None) -> Iterator[str]:
    """What works, but may not be meant."""
    if info is not None:
        yield from _mismatches(info, camera, frame_id)
    if 'optical' not in frame_id:
        yield (
            f'frame_id {frame_id!r} does not say optical: clouds are right only if its z axis '
            'looks forward (REP 103)'
        )


def _mismatches(info: CameraInfo, camera: Camera, frame_id: str) -> Iterator[str]:
    if (info.width, info.height) != (camera.width, camera.height):
        yield (
            f'camera_info says {info.width}x{info.height}, the image is '
            f'{camera.width}x{camera.height}: the intrinsics are scaled to the image'
        )
    if camera.is_distorted and info.distortion_model != camera.distortion_model:
        yield (
            f'camera_info has distortion_model {info.distortion_model!r} with {len(info.d)} '
            f'coefficients, used as {camera.distortion_model}'
        )
    if info.header.frame_id != frame_id:
        yield (
            f'image frame_id is {frame_id!r} but camera_info says {info.header.frame_id!r}; '
            "the image's is used"
        )
