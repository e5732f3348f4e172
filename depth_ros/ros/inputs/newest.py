# SPDX-License-Identifier: Apache-2.0
"""The newest image and its camera_info: one slot for each camera, never a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sensor_msgs.msg import CameraInfo

from depth_ros.ros.inputs.camera_info import CameraInfos

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


class Slot(Protocol):
    """What `LatestImages` takes from; both are called with `changed` held."""

    changed: threading.Condition

    def newest(self) -> list[View] | None:
        """The newest image, or pair of them, with camera_info; taken out. None for none yet."""
        ...

    def waiting_for_camera_info(self) -> bool:
        """Whether what is there waits for a camera_info only, which may still come."""
        ...


class LatestImages:
    """The inboxes of all cameras; filled by the executor's thread, emptied by the worker's."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        """One condition for all, so that the worker can wait for any."""
        self.closed = False
        self._slots = slots
        self._changed = threading.Condition()
        for slot in slots:
            slot.changed = self._changed

    def take(self, wait: bool = True) -> list[tuple[int, list[View]]] | None:
        """Wait for the first camera, then take what there is of all; None when closed.

        Args:
            wait: False to take what there is at once, which may be nothing.

        Returns:
            Number of the camera and its image or pair, for each that has a fresh one. Nobody
            waits for a slow or a dead camera.
        """
        with self._changed:
            while not self.closed:
                newest = [(k, slot.newest()) for k, slot in enumerate(self._slots)]
                fresh = [(k, views) for k, views in newest if views is not None]
                if fresh or not wait:
                    return fresh
                waiting = any(slot.waiting_for_camera_info() for slot in self._slots)
                self._changed.wait(INFO_WAIT_S / 4 if waiting else None)
            return None

    def close(self) -> None:
        """Wake the worker for the last time."""
        with self._changed:
            self.closed = True
            self._changed.notify()


class LatestImage:
    """The slot of one camera.

    Args:
        counters: where images are counted.
        needs_info: False if images are taken without a camera_info.
    """

    def __init__(self, counters: Counters, needs_info: bool = True) -> None:
        """Start empty."""
        self.counters = counters
        self.changed = threading.Condition()
        self.choice = InfoChoice()
        self._needs_info = needs_info
        self._image: Any = None
        self._waiting_since_s = 0.0  # when the slot was filled; a newer image does not renew it

    def put_image(self, message: Any) -> None:
        """Keep `message`, dropping an older one that nobody took."""
        with self.changed:
            self.counters.received += 1
            if self._image is None:
                self._waiting_since_s = time.monotonic()
            else:
                self.counters.dropped += 1
            self._image = message
            self.changed.notify()

    def put_info(self, message: CameraInfo) -> None:
        """Keep a camera_info."""
        with self.changed:
            self.choice.infos.add(message)
            self.changed.notify()

    def newest(self) -> list[View] | None:
        """The newest image with a camera_info for it; see `Slot`."""
        image, info = self._image, None
        if image is None:
            return None
        if self._needs_info:
            info = self.choice.info_for(image, time.monotonic() - self._waiting_since_s)
            if info is None:
                return None
        self._image = None
        return [(image, info)]

    def waiting_for_camera_info(self) -> bool:
        """See `Slot`."""
        return self._image is not None and len(self.choice.infos) > 0


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
