# SPDX-License-Identifier: Apache-2.0
"""What lives from configure to cleanup: pipeline, publishers; while active inputs and worker."""

from __future__ import annotations

import re
import threading
import time
import traceback
from typing import Any

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depth_ros.camera import Camera
from depth_ros.data import Frame
from depth_ros.errors import DepthRosError
from depth_ros.pipeline import Choices, Pipeline
from depth_ros.ros import cameras, diagnostics, middleware
from depth_ros.ros.diagnostics import ERROR, OK, WARN, Timing
from depth_ros.ros.images import to_rgb
from depth_ros.ros.inbox import Counters, Inbox, RateLimit, nanoseconds
from depth_ros.ros.inputs import Input
from depth_ros.ros.outputs import Outputs
from depth_ros.settings import Settings

TICK_S = 0.2  #: how often the inputs look at their publishers
REPORT_S = 1.0  #: period of /diagnostics
REPEAT_S = 5.0  #: a lasting trouble is logged this often


class Session:
    """One configured node at work.

    Args:
        node: owner of publishers, subscriptions and timers.
        depth: the loaded pipeline.
        choices: what it was made of, for the diagnostics.
        settings: parameters; `update` replaces them.
    """

    def __init__(
        self, node: LifecycleNode, depth: Pipeline, choices: Choices, settings: Settings
    ) -> None:
        """Create the publishers; `start` does the rest."""
        self.node = node
        self.log = node.get_logger()
        self.pipeline = depth
        self.choices = choices
        self.settings = settings
        self.outputs = Outputs(node, settings)
        self.counters = Counters()
        self.timing = Timing()
        self.rate = RateLimit()
        self.trouble = ''
        self.camera: Camera | None = None
        self.inbox: Inbox | None = None
        self.inputs: list[Input] = []
        self.worker: threading.Thread | None = None
        self._introduced: Any = None
        self._said: dict[str, float] = {}
        self._reported_s = self._started_s = time.monotonic()
        self.diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
        # steady: with use_sim_time and no /clock the node must still be able to say so
        self.timer = node.create_timer(
            TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def update(self, settings: Settings) -> None:
        """Take new live parameters.

        Raises:
            ConfigError: they do not fit the network; the old ones stay.
        """
        self.pipeline.update(settings)
        self.settings = settings

    def start(self) -> None:
        """Subscribe and start the worker."""
        node, settings = self.node, self.settings
        self.counters, self.trouble = Counters(), ''
        self.camera, self._introduced = None, None
        self.rate, self.outputs.points_rate = RateLimit(), RateLimit()
        self.timing.clear()
        self._started_s = time.monotonic()
        self.inbox = Inbox(self.counters)
        compressed = settings.image_transport == 'compressed'
        kind, topic = (CompressedImage, 'image/compressed') if compressed else (Image, 'image')
        self.inputs = [
            Input(node, kind, topic, self.inbox.put_image, 1, settings.image_reliability),
            Input(node, CameraInfo, 'camera_info', self.inbox.put_info, 10),
        ]
        self.worker = threading.Thread(target=self._work, args=(self.inbox,), name='depth')
        self.worker.start()
        self.log.info(f'listening to {" and ".join(i.topic for i in self.inputs)}')

    def stop(self) -> None:
        """Unsubscribe and wait until the worker has finished its frame."""
        if self.inbox is None or self.worker is None:
            return
        self.inbox.close()
        self.worker.join()
        for source in self.inputs:
            source.destroy()
        self.inbox, self.worker, self.inputs = None, None, []

    def close(self) -> None:
        """Stop and free everything."""
        self.stop()
        self.node.destroy_timer(self.timer)
        self.node.destroy_publisher(self.diagnostics)
        self.outputs.destroy()
        del self.pipeline
        middleware.release_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # the worker's thread

    def _work(self, inbox: Inbox) -> None:
        while (taken := inbox.take()) is not None:
            try:
                self._process(*taken)
                self.trouble = ''
            except DepthRosError as error:
                self._fail(str(error))
            except Exception as error:
                # the last edge: whatever a driver throws at one frame, the next one is tried
                self._fail(f'{type(error).__name__}: {error}')
                self.log.debug(traceback.format_exc())

    def _process(self, message: Any, info: CameraInfo) -> None:
        """One frame: decode, infer, publish."""
        settings = self.settings
        if not self.outputs.watched():
            self.counters.unwatched += 1
            if hasattr(message, 'width'):  # what is wrong with the camera is said all the same
                self._camera_of(message.header, info, message.width, message.height)
            return
        if not self.rate.admits(nanoseconds(message.header.stamp), settings.rate):
            self.counters.limited += 1
            return
        started_s = time.monotonic()
        rgb = to_rgb(message)
        height, width = rgb.shape[:2]
        camera = self._camera_of(message.header, info, width, height)
        pixels = torch.from_numpy(np.require(rgb, requirements='W'))  # torch wants them writable
        stamp_ns = nanoseconds(message.header.stamp)
        frame = Frame(pixels.to(self.pipeline.device), camera, stamp_ns, message.header.frame_id)
        depth = self.pipeline(frame)
        header = message.header
        if settings.frame_id:
            header = type(header)(stamp=header.stamp, frame_id=settings.frame_id)
        self.outputs.publish(depth, header, settings)
        self.counters.published += 1
        now_ns = self.node.get_clock().now().nanoseconds
        done_s = time.monotonic()
        self.timing.add(done_s, (now_ns - stamp_ns) * 1e-9, done_s - started_s)

    def _camera_of(self, header: Any, info: CameraInfo, width: int, height: int) -> Camera:
        """The camera of an image, introduced once."""
        choice = self.settings.rectified
        rectified = {'true': True, 'false': False}.get(choice)
        if rectified is None and re.search(r'(^|[/_])rect', self.inputs[0].topic):
            rectified = True  # image_rect, image_rect_color, left_rect
        camera = cameras.to_camera(info, width, height, rectified)
        seen = (camera, header.frame_id, info.header.frame_id, info.width, info.height)
        if seen != self._introduced:
            self._introduced = seen
            self._introduce(camera, header, info)
        return camera

    def _introduce(self, camera: Camera, header: Any, info: CameraInfo) -> None:
        """Say once what the camera is, and what is odd about it."""
        self.camera = camera
        self.log.info(
            f'camera {camera}; field of view {camera.hfov_deg:.1f} x {camera.vfov_deg:.1f} deg, '
            f'frame {header.frame_id!r}' + ('; undistorting' if camera.is_distorted else '')
        )
        if (info.width, info.height) != (camera.width, camera.height):
            self.log.warning(
                f'camera_info says {info.width}x{info.height}, the image is '
                f'{camera.width}x{camera.height}: the intrinsics are scaled to the image'
            )
        if info.header.frame_id != header.frame_id:
            self.log.warning(
                f'image frame_id is {header.frame_id!r} but camera_info says '
                f"{info.header.frame_id!r}; the image's is used"
            )
        if 'optical' not in header.frame_id:
            self.log.warning(
                f'frame_id {header.frame_id!r} does not say optical: clouds are right only if its '
                'z axis looks forward (REP 103)'
            )

    def _fail(self, trouble: str) -> None:
        self.counters.failed += 1
        self.trouble = trouble
        if self._due(trouble):
            self.log.error(trouble)

    # the executor's thread

    def _tick(self) -> None:
        now_s = time.monotonic()
        for source in self.inputs:
            source.refresh()
        silence = self._silence(now_s)
        if silence and self._due(silence):
            self.log.warning(silence)
        if now_s - self._reported_s >= REPORT_S:
            self._reported_s = now_s
            self._report(now_s, silence)

    def _silence(self, now_s: float) -> str:
        """Why there is no depth although the node is active; '' if there is nothing to say."""
        if self.inbox is None:
            return ''
        image, info = self.inputs
        arrivals = ((image, self.inbox.last_image_s), (info, self.inbox.last_info_s))
        reasons = []
        for source, last_s in arrivals:
            quiet_s = now_s - (last_s or self._started_s)
            # camera_info may be published once for ever
            if quiet_s > self.settings.patience and not (source is info and last_s):
                reasons.append(f'no {source.relative} for {quiet_s:.0f} s: {source.why_silent()}')
        return '; '.join(reasons)

    def _report(self, now_s: float, silence: str) -> None:
        name = self.node.get_fully_qualified_name()
        counters = self.counters
        summary = self.timing.summary(now_s)
        active = self.inbox is not None
        camera = diagnostics.status(
            f'{name}: camera',
            ERROR if silence or self.trouble else OK,
            silence
            or self.trouble
            or (str(self.camera) if self.camera else 'waiting' if active else 'inactive'),
            {
                **{f'topic {i.relative}': i.topic for i in self.inputs},
                **{
                    f'reliability {i.relative}': i.qos.reliability.name.lower()
                    for i in self.inputs
                },
                'received': counters.received,
            },
        )
        wanted, got = self.settings.rate, summary.get('rate [Hz]', 0.0)
        slow = bool(summary) and wanted > 0 and got < 0.9 * wanted
        depth = diagnostics.status(
            f'{name}: depth',
            WARN if slow else OK,
            f'overloaded: {got:.1f} Hz of {wanted:g}'
            if slow
            else 'active'
            if active
            else 'inactive',
            {
                **{field: getattr(self.choices, field) for field in self.choices.__slots__},
                **summary,
                **{field: getattr(counters, field) for field in counters.__slots__},
            },
        )
        self.diagnostics.publish(
            diagnostics.array(self.node.get_clock().now().to_msg(), [camera, depth])
        )

    def _due(self, text: str) -> bool:
        """Whether to log a trouble: when it is new, and every `REPEAT_S` while it lasts."""
        key = text.split(' for ')[0]  # the seconds count up
        now_s = time.monotonic()
        due = now_s - self._said.get(key, -REPEAT_S) >= REPEAT_S
        if due:
            self._said[key] = now_s
        return due
