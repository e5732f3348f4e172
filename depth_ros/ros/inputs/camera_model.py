# SPDX-License-Identifier: Apache-2.0
"""Which camera took the images of a topic, and what is odd about it, said once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sensor_msgs.msg import CameraInfo
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.pipeline.steady_camera import SteadyCamera
from depth_ros.ros.inputs.camera_info import camera_from
from depth_ros.ros.process.log import Throttle

RECTIFIED = {'rectified': True, 'raw': False}


class CameraModelSource:
    """The camera of a topic's images: from camera_info, or estimated from the pictures.

    Args:
        log: the node's.
        topic: full name of the image topic, which may say that the image is rectified.
        rectification: the parameter.
        estimate: from the pictures; None takes camera_info.
    """

    def __init__(
        self, log: Any, topic: str, rectification: str, estimate: SteadyCamera | None = None
    ) -> None:
        """Nothing seen yet."""
        self.log = log
        self.camera: Camera | None = None  #: of the latest image
        self.estimate = estimate
        says_so = re.search(r'(^|[/_])rect', topic)  # image_rect, left_rect
        self._rectified = RECTIFIED.get(rectification, True if says_so else None)
        self._throttle = Throttle()
        self._introduced: Any = None

    @property
    def source(self) -> str:
        """Where the intrinsics come from, for people."""
        return self.estimate.state if self.estimate else 'camera_info'

    def of(self, header: Any, info: CameraInfo | None, picture: Tensor) -> Camera:
        """The camera that took (H, W, 3) uint8, on the device.

        Raises:
            CameraError: not calibrated, or for an image of another shape.
        """
        if self.estimate is None:
            return self.described(header, info, picture.shape[1], picture.shape[0])
        camera = self.estimate(picture)
        self._introduce(camera, header, None, (camera, header.frame_id))
        return camera

    def described(self, header: Any, info: CameraInfo | None, width: int, height: int) -> Camera:
        """The camera of an image of that size as camera_info has it.

        Raises:
            CameraError: not calibrated, or for an image of another shape.
        """
        camera = camera_from(info, width, height, self._rectified)
        seen = (camera, header.frame_id, info.header.frame_id, info.width, info.height)
        self._introduce(camera, header, info, seen)
        return camera

    def _introduce(self, camera: Camera, header: Any, info: CameraInfo | None, seen: Any) -> None:
        """Say what the camera is, and what is odd about it; a zooming one not at every frame."""
        if seen == self._introduced:
            return
        self._introduced = seen
        self.camera = camera
        text = (
            f'camera {camera}; field of view {camera.hfov_deg:.1f} x {camera.vfov_deg:.1f} deg, '
            f'frame {header.frame_id!r}' + ('; undistorting' if camera.is_distorted else '')
        )
        if self.estimate is not None:
            text += f'; K is {self.source}'
        if self._throttle.due(text):
            self.log.info(text)
        for oddity in _oddities(camera, header.frame_id, info):
            if self._throttle.due(oddity):
                self.log.warning(oddity)


def _oddities(camera: Camera, frame_id: str, info: CameraInfo | None) -> Iterator[str]:
    """What works, but may not be meant."""
    if info is not None:
        yield from _oddities_of(info, camera, frame_id)
    if 'optical' not in frame_id:
        yield (
            f'frame_id {frame_id!r} does not say optical: clouds are right only if its z axis '
            'looks forward (REP 103)'
        )


def _oddities_of(info: CameraInfo, camera: Camera, frame_id: str) -> Iterator[str]:
    if (info.width, info.height) != (camera.width, camera.height):
        yield (
            f'camera_info says {info.width}x{info.height}, the image is '
            f'{camera.width}x{camera.height}: the intrinsics are scaled to the image'
        )
    if camera.is_distorted and info.distortion_model != camera.distortion_model:
        yield (
            f'camera_info has distortion_model {info.distortion_model!r} with {len(info.d)} '
            f'coefficients, taken for {camera.distortion_model}'
        )
    if info.header.frame_id != frame_id:
        yield (
            f'image frame_id is {frame_id!r} but camera_info says {info.header.frame_id!r}; '
            "the image's is used"
        )
