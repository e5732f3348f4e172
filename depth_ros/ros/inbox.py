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

#: an image and its camera_info, which is None where none is wanted
View = tuple[Any, CameraInfo | None]


@dataclass(slots=True)
class Counters:
    """What became of the images since the node was activated."""

    received: int = 0
    dropped: int = 0  #: overwritten by a newer one while the network was busy
    limited: int = 0  #: not taken because of `rate`
    unwatched: int = 0  #: not taken because nobody listens
    published: int = 0
    unscaled: int = 0  #: not published because their metres were not known
    failed: int = 0


class Inbox:
    """Filled by the executor's thread, emptied by the worker's.

    Args:
        counters: where images are counted.
        needs_info: False if images are taken without a camera_info.
    """

    def __init__(self, counters: Counters, needs_info: bool = True) -> None:
        """Start empty."""
        self.counters = counters
        self.closed = False
        self.choice = InfoChoice()
        self._needs_info = needs_info
        self._image: Any = None
        self._waiting_since_s = 0.0  # when the slot was filled; a newer image does not renew it
        self._changed = threading.Condition()

    def put_image(self, message: Any) -> None:
        """Keep `message`, dropping an older one that nobody took."""
        with self._changed:
            self.counters.received += 1
            if self._image is None:
                self._waiting_since_s = time.monotonic()
            else:
                self.counters.dropped += 1
            self._image = message
            self._changed.notify()

    def put_info(self, message: CameraInfo) -> None:
        """Keep a camera_info."""
        with self._changed:
            self.choice.infos.add(message)
            self._changed.notify()

    def close(self) -> None:
        """Wake the worker for the last time."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def take(self) -> list[View] | None:
        """Wait for the newest image with a camera_info for it; None when closed."""
        with self._changed:
            while not self.closed:
                image = self._image
                if image is not None:
                    info = self._info_for(image)
                    if info is not None or not self._needs_info:
                        self._image = None
                        return [(image, info)]
                waiting = image is not None and len(self.choice.infos) > 0
                self._changed.wait(INFO_WAIT_S / 4 if waiting else None)
            return None

    def _info_for(self, image: Any) -> CameraInfo | None:
        if not self._needs_info:
            return None
        return self.choice.info_for(image, time.monotonic() - self._waiting_since_s)


class InfoChoice:
    """Which of the received camera_info belongs to an image."""

    def __init__(self) -> None:
        """Start with none."""
        self.infos = CameraInfos()
        self._settled: set[Any] = set()  # pairs that were taken after waiting in vain

    def info_for(self, image: Any, waited_s: float) -> CameraInfo | None:
        """The camera_info of an image that waited for one; None while it may still come.

        The one of the same stamp if it is there; one of the same frame and size at once; any other
        after `INFO_WAIT_S`, in case the right one is on its way; from then on at once.
        """
        info = self.infos.exact(image.header)
        if info is not None:
            return info
        # a compressed image does not tell its size before it is decoded
        size = (image.width, image.height) if hasattr(image, 'width') else None
        info = self.infos.nearest(image.header, size)
        if info is None:
            return None
        described = (info.width, info.height)
        if info.header.frame_id == image.header.frame_id and size in (None, described):
            return info
        pair = (image.header.frame_id, size, info.header.frame_id, described)
        if waited_s >= INFO_WAIT_S:
            self._settled.add(pair)
        return info if pair in self._settled else None
