# SPDX-License-Identifier: Apache-2.0
"""The newest image and its camera_info: one slot, never a queue."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CameraInfo

from depth_ros.ros.cameras import CameraInfos

#: how long an image waits for a camera_info better than the one at hand [s]
INFO_WAIT_S = 0.1


@dataclass(slots=True)
class Counters:
    """What became of the images since the node was activated."""

    received: int = 0
    dropped: int = 0  #: overwritten by a newer one while the network was busy
    limited: int = 0  #: not taken because of `rate`
    unwatched: int = 0  #: not taken because nobody listens
    published: int = 0
    failed: int = 0


class Inbox:
    """Filled by the executor's thread, emptied by the worker's."""

    def __init__(self, counters: Counters) -> None:
        """Start empty."""
        self.counters = counters
        self.closed = False
        self.last_image_s = self.last_info_s = 0.0  #: monotonic time of arrival, 0 for never
        self.infos = CameraInfos()
        self._image: Any = None
        self._changed = threading.Condition()

    def put_image(self, message: Any) -> None:
        """Keep `message`, dropping an older one that nobody took."""
        with self._changed:
            self.counters.received += 1
            self.counters.dropped += self._image is not None
            self.last_image_s = time.monotonic()
            self._image = message
            self._changed.notify()

    def put_info(self, message: CameraInfo) -> None:
        """Keep a camera_info."""
        with self._changed:
            self.last_info_s = time.monotonic()
            self.infos.add(message)
            self._changed.notify()

    def close(self) -> None:
        """Wake the worker for the last time."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def take(self) -> tuple[Any, CameraInfo] | None:
        """Wait for the newest image with a camera_info for it; None when closed.

        The camera_info of the same stamp if it is there; one of the same frame and size at once;
        any other only after `INFO_WAIT_S`, in case the right one is on its way.
        """
        with self._changed:
            while not self.closed:
                image = self._image
                info = self._info_for(image) if image is not None else None
                if info is not None:
                    self._image = None
                    return image, info
                waiting = image is not None and self.infos.nearest(image.header) is not None
                self._changed.wait(INFO_WAIT_S / 4 if waiting else None)
            return None

    def _info_for(self, image: Any) -> CameraInfo | None:
        exact = self.infos.exact(image.header)
        if exact is not None:
            return exact
        # a compressed image does not tell its size before it is decoded
        size = (getattr(image, 'width', 0), getattr(image, 'height', 0))
        info = self.infos.nearest(image.header, *size)
        if info is None:
            return None
        fits = info.header.frame_id == image.header.frame_id and (info.width, info.height) == size
        patient = time.monotonic() - self.last_image_s < INFO_WAIT_S
        return info if fits or not patient else None


def nanoseconds(stamp: Any) -> int:
    """builtin_interfaces/Time -> ns."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class RateLimit:
    """At most `rate` admissions a second of message time; 0 admits all."""

    def __init__(self) -> None:
        """Admit the first."""
        self._due_ns = self._last_ns = 0

    def admits(self, stamp_ns: int, rate: float) -> bool:
        """Whether the message of this stamp is due; time jumping back starts anew."""
        if rate <= 0:
            return True
        period_ns = round(1e9 / rate)
        jumped = stamp_ns < self._last_ns
        self._last_ns = stamp_ns
        if not jumped and stamp_ns < self._due_ns:
            return False
        # a fixed grid keeps the mean rate exact; after a pause it starts at this message
        on_grid = not jumped and stamp_ns < self._due_ns + period_ns
        self._due_ns = (self._due_ns if on_grid else stamp_ns) + period_ns
        return True
