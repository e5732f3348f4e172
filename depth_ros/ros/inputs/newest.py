# SPDX-License-Identifier: Apache-2.0
"""The newest image of each camera and its camera_info; never a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sensor_msgs.msg import CameraInfo

from depth_ros.ros.inputs.camera_info import INFO_WAIT_S, CameraInfoCache
from depth_ros.ros.statistics import Counters

#: longest rest of the executor's thread after an image; no camera sends two within it
REST_S = 0.005


@dataclass(frozen=True, slots=True)
class View:
    """An image message and the camera_info that belongs to it.

    Args:
        image: sensor_msgs/Image or CompressedImage.
        info: None where the intrinsics are estimated from the image.
    """

    image: Any
    info: CameraInfo | None


class Handover(threading.Condition):
    """Between the executor's thread, which fills slots, and the worker's, which empties them.

    Only one of them can run Python code. What the executor does after an image, to register all
    that it waits for, twice, would delay the depth of this image. So it rests until that is sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self._idle = False  # the worker waits

    def give(self) -> None:
        """Wake the worker and, if it was idle, rest until it is again; with the lock held."""
        self.notify_all()
        if self._idle:
            self._idle = False
            self.wait_for(lambda: self._idle, REST_S)

    def wait_for_more(self, timeout_s: float | None) -> None:
        """Wait, as the worker, for what is given; with the lock held."""
        self._idle = True
        self.notify_all()
        self.wait(timeout_s)
        self._idle = False


class Slot(Protocol):
    """Holds the newest image, or pair of images, of one camera.

    `LatestImages` calls `newest` and `waiting_for_camera_info` with `changed` held.
    """

    changed: Handover

    def put_image(self, message: Any) -> None:
        """Keep an image."""
        ...

    def put_info(self, message: CameraInfo) -> None:
        """Keep a camera_info."""
        ...

    def newest(self) -> list[View] | None:
        """Take out the newest image, or pair of images; None if there is none yet."""
        ...

    def waiting_for_camera_info(self) -> bool:
        """Whether there is an image that lacks only its camera_info, which may still come."""
        ...


class LatestImages:
    """The slots of all cameras; filled by the executor's thread, emptied by the worker's.

    Args:
        slots: of the cameras, in the worker's order. They share one condition, so that the worker
            can wait for any of them.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.closed = False
        self._slots = slots
        self._changed = Handover()
        for slot in slots:
            slot.changed = self._changed

    def take(self, wait: bool = True) -> list[tuple[int, list[View]]] | None:
        """Wait for the first camera, then take the newest of all; None when closed.

        A slow or dead camera delays no other.

        Args:
            wait: False returns at once, with an empty list if there is no new image.

        Returns:
            Index of the camera and its image or pair, for each that has a new one.
        """
        with self._changed:
            while not self.closed:
                newest = [(k, slot.newest()) for k, slot in enumerate(self._slots)]
                fresh = [(k, views) for k, views in newest if views is not None]
                if fresh or not wait:
                    return fresh
                waiting = any(slot.waiting_for_camera_info() for slot in self._slots)
                self._changed.wait_for_more(INFO_WAIT_S / 4 if waiting else None)
            return None

    def close(self) -> None:
        """Wake the worker for the last time."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class LatestImage:
    """The slot of one camera.

    Args:
        counters: where images are counted.
        needs_info: False if images are taken without a camera_info.
    """

    def __init__(self, counters: Counters, needs_info: bool = True) -> None:
        self.counters = counters
        self.changed = Handover()
        self._infos = CameraInfoCache()
        self._needs_info = needs_info
        self._image: Any = None
        self._waiting_since_s = 0.0  # when the slot was filled; a newer image does not renew it

    def put_image(self, message: Any) -> None:
        """Keep `message`; an older one that was not taken is dropped and counted."""
        with self.changed:
            self.counters.received += 1
            if self._image is None:
                self._waiting_since_s = time.monotonic()
            else:
                self.counters.dropped += 1
            self._image = message
            self.changed.give()

    def put_info(self, message: CameraInfo) -> None:
        """Keep a camera_info."""
        with self.changed:
            self._infos.add(message)
            if self._image is not None:
                self.changed.give()

    def newest(self) -> list[View] | None:
        """The newest image with a camera_info for it; see `Slot`."""
        image, info = self._image, None
        if image is None:
            return None
        if self._needs_info:
            info = self._infos.info_for(image, time.monotonic() - self._waiting_since_s)
            if info is None:
                return None
        self._image = None
        return [View(image, info)]

    def waiting_for_camera_info(self) -> bool:
        """See `Slot`."""
        return self._image is not None and len(self._infos) > 0
