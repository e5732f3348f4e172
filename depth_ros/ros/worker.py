# SPDX-License-Identifier: Apache-2.0
"""The thread that takes the newest image, infers and publishes."""

from __future__ import annotations

import re
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo

from depth_ros.camera import Camera
from depth_ros.data import Frame
from depth_ros.errors import DepthRosError
from depth_ros.pipeline import Pipeline
from depth_ros.ros.cameras import camera_from
from depth_ros.ros.diagnostics import Timing
from depth_ros.ros.images import to_rgb
from depth_ros.ros.inbox import Inbox
from depth_ros.ros.log import Throttle
from depth_ros.ros.outputs import Outputs
from depth_ros.ros.stamps import RateLimit, nanoseconds
from depth_ros.settings import Settings


class Worker:
    """From `inbox` through `pipeline` to `outputs`, until the inbox is closed.

    Args:
        node: for its clock and log.
        inbox: where images come from.
        pipeline: the loaded network.
        outputs: the publishers.
        settings: parameters; may be replaced at any time.
        topic: full name of the image topic, which may say that the image is rectified.
    """

    def __init__(
        self,
        node: LifecycleNode,
        inbox: Inbox,
        pipeline: Pipeline,
        outputs: Outputs,
        settings: Settings,
        topic: str,
    ) -> None:
        """Start the thread."""
        self.node = node
        self.log = node.get_logger()
        self.inbox = inbox
        self.pipeline = pipeline
        self.outputs = outputs
        self.settings = settings
        self.counters = inbox.counters
        self.timing = Timing()
        self.trouble = ''  #: what is wrong with the images now; '' for nothing
        self.camera: Camera | None = None
        self._says_rectified = bool(re.search(r'(^|[/_])rect', topic))  # image_rect, left_rect
        self._rate = RateLimit()
        self._throttle = Throttle()
        self._introduced: Any = None
        self._thread = threading.Thread(target=self._run, name='depth')
        self._thread.start()

    def join(self) -> None:
        """Wait for the frame at hand; close the inbox first."""
        self._thread.join()

    def _run(self) -> None:
        while (taken := self.inbox.take()) is not None:
            try:
                if self._process(*taken):
                    self.trouble = ''
            except DepthRosError as error:
                self._fail(str(error))
            except Exception as error:
                if not self.node.context.ok():
                    return  # shut down in mid-frame: nothing can be published any more
                # the last edge: whatever a driver throws at one frame, the next one is tried
                self._fail(f'{type(error).__name__}: {error}')
                self.log.debug(traceback.format_exc())

    def _process(self, message: Any, info: CameraInfo) -> bool:
        """One frame: decode, infer, publish; False if it was left out without a look at it."""
        settings, header = self.settings, message.header
        if not self.outputs.watched():
            self.counters.unwatched += 1
            if not hasattr(message, 'width'):
                return False
            # what is wrong with the camera is said all the same
            self._camera_of(header, info, message.width, message.height)
            return True
        stamp_ns = nanoseconds(header.stamp)
        if not self._rate.admits(stamp_ns, settings.rate):
            self.counters.limited += 1
            return False
        started_s = time.monotonic()
        rgb = to_rgb(message)
        height, width = rgb.shape[:2]
        camera = self._camera_of(header, info, width, height)
        pixels = torch.from_numpy(np.require(rgb, requirements='W'))  # torch wants them writable
        depth = self.pipeline(Frame(pixels.to(self.pipeline.device), camera))
        if settings.frame_id:
            header = type(header)(stamp=header.stamp, frame_id=settings.frame_id)
        self.outputs.publish(depth, header, settings)
        self.counters.published += 1
        now_ns = self.node.get_clock().now().nanoseconds
        # with use_sim_time and no /clock yet it is the year 1970, and there is no latency to tell
        latency_s = (now_ns - stamp_ns) * 1e-9 if now_ns else float('nan')
        self.timing.add(time.monotonic(), latency_s, time.monotonic() - started_s)
        return True

    def _camera_of(self, header: Any, info: CameraInfo, width: int, height: int) -> Camera:
        """The camera of an image, introduced once."""
        rectified = {'rectified': True, 'raw': False}.get(self.settings.rectification)
        if rectified is None and self._says_rectified:
            rectified = True
        camera = camera_from(info, width, height, rectified)
        seen = (camera, header.frame_id, info.header.frame_id, info.width, info.height)
        if seen != self._introduced:
            self._introduced = seen
            self._introduce(camera, header, info)
        return camera

    def _introduce(self, camera: Camera, header: Any, info: CameraInfo) -> None:
        """Say what the camera is, and what is odd about it; a zooming one not at every frame."""
        self.camera = camera
        text = (
            f'camera {camera}; field of view {camera.hfov_deg:.1f} x {camera.vfov_deg:.1f} deg, '
            f'frame {header.frame_id!r}' + ('; undistorting' if camera.is_distorted else '')
        )
        if self._throttle.due(text):
            self.log.info(text)
        for oddity in _oddities(camera, header.frame_id, info):
            if self._throttle.due(oddity):
                self.log.warning(oddity)

    def _fail(self, trouble: str) -> None:
        self.counters.failed += 1
        self.trouble = trouble
        if self._throttle.due(trouble):
            self.log.error(trouble)


def _oddities(camera: Camera, frame_id: str, info: CameraInfo) -> Iterator[str]:
    """What works, but may not be meant."""
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
    if 'optical' not in frame_id:
        yield (
            f'frame_id {frame_id!r} does not say optical: clouds are right only if its z axis '
            'looks forward (REP 103)'
        )
