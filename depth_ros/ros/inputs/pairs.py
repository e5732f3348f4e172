# SPDX-License-Identifier: Apache-2.0
"""The newest pair of images of two cameras, taken at the same time; never a queue."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from sensor_msgs.msg import CameraInfo

from depth_ros.ros.inputs.newest import Counters, InfoChoice, View
from depth_ros.ros.inputs.stamps import nanoseconds

#: images kept of each camera, because one camera's arrive later than the other's
KEPT = 4


class LatestPair:
    """An `LatestImage` for two cameras.

    A pair is two images whose stamps agree. The newest pair is the next one; what is older than it
    is forgotten, whether it found its partner or not.

    Args:
        counters: where the first camera's images are counted.
        max_offset_s: stamps that differ by no more agree [s].
    """

    def __init__(self, counters: Counters, max_offset_s: float) -> None:
        """Start empty."""
        self.counters = counters
        self.changed = threading.Condition()
        self._max_offset_ns = round(max_offset_s * 1e9)
        self._images: tuple[deque[Any], deque[Any]] = (deque(maxlen=KEPT), deque(maxlen=KEPT))
        self._choices = (InfoChoice(), InfoChoice())
        self._waiting_since_s = 0.0  # when the oldest untaken image came
        self._unpaired = 0  # images of the first camera since the last pair
        self._offset_ns: int | None = None  # the least between those at hand

    def put_image(self, message: Any, camera: int = 0) -> None:
        """Keep an image of the first (0) or the second (1) camera."""
        with self.changed:
            if not any(self._images):
                self._waiting_since_s = time.monotonic()
            if camera == 0:
                self.counters.received += 1
                self._unpaired += 1
                self.counters.dropped += len(self._images[0]) == KEPT
            recent = self._images[camera]
            if recent and nanoseconds(message.header.stamp) < nanoseconds(recent[-1].header.stamp):
                recent.clear()  # time went back
            recent.append(message)
            self.changed.notify()

    def put_info(self, message: CameraInfo, camera: int = 0) -> None:
        """Keep a camera_info of the first or the second camera."""
        with self.changed:
            self._choices[camera].infos.add(message)
            self.changed.notify()

    def newest(self) -> list[View] | None:
        """The newest pair with a camera_info for each; see `Slot`."""
        pair = self._newest()
        if pair is None:
            return None
        waited_s = time.monotonic() - self._waiting_since_s
        chosen = zip(self._choices, pair, strict=True)
        infos = [choice.info_for(image, waited_s) for choice, image in chosen]
        if None in infos:
            return None
        self._forget_up_to(pair)
        return list(zip(pair, infos, strict=True))

    def waiting_for_camera_info(self) -> bool:
        """See `Slot`."""
        return self._newest() is not None and all(len(c.infos) for c in self._choices)

    def why_none(self) -> str:
        """Why images of both cameras came and yet no pair; '' if that is not so."""
        with self.changed:
            if self._unpaired < KEPT or not all(self._images) or self._offset_ns is None:
                return ''
            return (
                f'stamps of image and image_2 differ by {self._offset_ns * 1e-9:.3g} s at least, '
                f'two_views.max_offset is {self._max_offset_ns * 1e-9:.3g} s: trigger the cameras '
                'together, or raise it if nothing moves'
            )

    def _newest(self) -> tuple[Any, Any] | None:
        """The newest two images that agree."""
        first, second = ([(nanoseconds(m.header.stamp), m) for m in i] for i in self._images)
        self._offset_ns = None
        for ns, image in reversed(first):
            if not second:
                break
            other_ns, other = min(second, key=lambda s: abs(s[0] - ns))
            offset = abs(other_ns - ns)
            if offset <= self._max_offset_ns:
                return image, other
            least = self._offset_ns
            self._offset_ns = offset if least is None else min(least, offset)
        return None

    def _forget_up_to(self, pair: tuple[Any, Any]) -> None:
        before = len(self._images[0])
        for images, taken in zip(self._images, pair, strict=True):
            while images and images.popleft() is not taken:
                pass
        self.counters.dropped += before - len(self._images[0]) - 1
        self._unpaired = len(self._images[0])
        self._waiting_since_s = time.monotonic()
