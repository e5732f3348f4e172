# SPDX-License-Identifier: Apache-2.0
"""The thread that takes the newest image, or pair of them, infers and publishes."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rclpy.lifecycle import LifecycleNode

from depth_ros.data import DepthMap, Frame
from depth_ros.errors import DepthRosError, ScaleError
from depth_ros.ros.diagnostics import Timing
from depth_ros.ros.images import to_rgb
from depth_ros.ros.inbox import Inbox, View
from depth_ros.ros.lens import Lens
from depth_ros.ros.log import Throttle
from depth_ros.ros.outputs import Outputs
from depth_ros.ros.pairs import PairInbox
from depth_ros.ros.stamps import RateLimit, nanoseconds
from depth_ros.settings import Settings


class Worker:
    """From `inbox` through `depth_of` to `outputs`, until the inbox is closed.

    Args:
        node: for its clock and log.
        inbox: where images come from.
        depth_of: a frame, or as many as the inbox gives -> depth of the first.
        device: where frames must be.
        outputs: the publishers.
        settings: parameters; may be replaced at any time.
        lenses: the cameras, as many as the inbox gives images.
    """

    def __init__(
        self,
        node: LifecycleNode,
        inbox: Inbox | PairInbox,
        depth_of: Callable[..., DepthMap],
        device: torch.device,
        outputs: Outputs,
        settings: Settings,
        lenses: list[Lens],
    ) -> None:
        """Start the thread."""
        self.node = node
        self.log = node.get_logger()
        self.inbox = inbox
        self.depth_of = depth_of
        self.device = device
        self.outputs = outputs
        self.settings = settings
        self.lenses = lenses
        self.counters = inbox.counters
        self.timing = Timing()
        self.trouble = ''  #: what is wrong with the images now; '' for nothing
        self._rate = RateLimit()
        self._throttle = Throttle()
        self._thread = threading.Thread(target=self._run, name='depth')
        self._thread.start()

    def join(self) -> None:
        """Wait for the frame at hand; close the inbox first."""
        self._thread.join()

    def _run(self) -> None:
        while (views := self.inbox.take()) is not None:
            try:
                if self._process(views):
                    self.trouble = ''
            except ScaleError as error:
                self._wait(str(error))
            except DepthRosError as error:
                self._fail(str(error))
            except Exception as error:
                if not self.node.context.ok():
                    return  # shut down in mid-frame: nothing can be published any more
                # the last edge: whatever a driver throws at one frame, the next one is tried
                self._fail(f'{type(error).__name__}: {error}')
                self.log.debug(traceback.format_exc())

    def _process(self, views: list[View]) -> bool:
        """One frame: decode, infer, publish; False if it was left out without a look at it."""
        settings, header = self.settings, views[0][0].header
        if not self.outputs.watched():
            self.counters.unwatched += 1
            return self._glance(views)
        stamp_ns = nanoseconds(header.stamp)
        if not self._rate.admits(stamp_ns, settings.rate):
            self.counters.limited += 1
            return False
        started_s = time.monotonic()
        frames = [self._frame(*view, lens) for view, lens in zip(views, self.lenses, strict=True)]
        depth = self.depth_of(*frames)
        if settings.frame_id:
            header = type(header)(stamp=header.stamp, frame_id=settings.frame_id)
        self.outputs.publish(depth, header, settings)
        self.counters.published += 1
        now_ns = self.node.get_clock().now().nanoseconds
        # with use_sim_time and no /clock yet it is the year 1970, and there is no latency to tell
        latency_s = (now_ns - stamp_ns) * 1e-9 if now_ns else float('nan')
        self.timing.add(time.monotonic(), latency_s, time.monotonic() - started_s)
        return True

    def _frame(self, message: Any, info: Any, lens: Lens) -> Frame:
        """Decode, with the camera."""
        rgb = np.require(to_rgb(message), requirements='W')  # torch wants them writable
        pixels = torch.from_numpy(rgb).to(self.device)
        header = message.header
        camera = lens.of(header, info, pixels)
        return Frame(pixels, camera, nanoseconds(header.stamp), header.frame_id)

    def _glance(self, views: list[View]) -> bool:
        """What is wrong with a camera is said also while nobody listens; False: no look at it."""
        looked = False
        for (message, info), lens in zip(views, self.lenses, strict=True):
            if info is not None and hasattr(message, 'width'):
                lens.described(message.header, info, message.width, message.height)
                looked = True
        return looked

    def _fail(self, trouble: str) -> None:
        self.counters.failed += 1
        self.trouble = trouble
        if self._throttle.due(trouble):
            self.log.error(trouble)

    def _wait(self, trouble: str) -> None:
        self.counters.unscaled += 1
        self.trouble = trouble
        if self._throttle.due(trouble):
            self.log.warning(trouble)
