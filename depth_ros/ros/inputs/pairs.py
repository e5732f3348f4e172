# SPDX-License-Identifier: Apache-2.0
"""The newest pair of images of two cameras, taken at the same time; never a queue."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from sensor_msgs.msg import CameraInfo

from depth_ros.core.stamps import nanoseconds, went_back
from depth_ros.ros.inputs.camera_info import CameraInfoCache
from depth_ros.ros.inputs.newest import Handover, View
from depth_ros.ros.statistics import Counters

#: images kept of each camera, because one camera's arrive later than the other's
KEPT = 4


class LatestPair:
    """As `LatestImage`, for the two cameras of a stereo pair.

    A pair is two images whose stamps agree. The newest pair is the next one; images older than it
    are dropped, with or without a partner.

    Args:
        counters: where the first camera's images are counted.
        max_offset_s: stamps that differ by no more agree [s].
    """

    def __init__(self, counters: Counters, max_offset_s: float) -> None:
        self.counters = counters
        self.changed = Handover()
        self._max_offset_ns = round(max_offset_s * 1e9)
        self._images: tuple[deque[Any], deque[Any]] = (deque(maxlen=KEPT), deque(maxlen=KEPT))
        self._infos = (CameraInfoCache(), CameraInfoCache())
        self._waiting_since_s = 0.0  # when the oldest untaken image came
        self._unpaired = 0  # images of the first camera since the last pair
        self._offset_ns: int | None = None  # the least between those at hand

    def put_image(self, message: Any, camera: int = 0) -> None:
        """Keep an image of the first (0) or the second (1) camera."""
        with self.changed:
            if not any(self._images):
                self._waiting_since_s = time.monotonic()
            recent = self._images[camera]
            newest_ns = nanoseconds(recent[-1].header.stamp) if recent else 0
            stamp_ns = nanoseconds(message.header.stamp)
            late = stamp_ns < newest_ns and not went_back(stamp_ns, newest_ns)
            lost = int(late)
            if went_back(stamp_ns, newest_ns):
                lost = len(recent)
                recent.clear()
            elif not late:
                lost = int(len(recent) == KEPT)
            if camera == 0:
                self.counters.received += 1
                self._unpaired += 1
                self.counters.dropped += lost
            if not late:
                recent.append(message)
                self.changed.give()

    def put_info(self, message: CameraInfo, camera: int = 0) -> None:
        """Keep a camera_info of the first or the second camera."""
        with self.changed:
            self._infos[camera].add(message)
            self.changed.give()

    def newest(self) -> list[View] | None:
        """The newest pair with a camera_info for each; see `Slot`."""
        pair = self._newest()
        if pair is None:
            return None
        waited_s = time.monotonic() - self._waiting_since_s
        chosen = zip(self._infos, pair, strict=True)
        infos = [cache.info_for(image, waited_s) for cache, image in chosen]
        if None in infos:
            return None
        self._drop_up_to(pair)
        return [View(image, info) for image, info in zip(pair, infos, strict=True)]

    def waiting_for_camera_info(self) -> bool:
        """See `Slot`."""
        return self._newest() is not None and all(len(cache) for cache in self._infos)

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
        least: int | None = None
        self._offset_ns = None
        for ns, image in reversed(first):
            if not second:
                break
            other_ns, other = min(second, key=lambda s: abs(s[0] - ns))
            offset = abs(other_ns - ns)
            if offset <= self._max_offset_ns:
                return image, other
            least = offset if least is None else min(least, offset)
        self._offset_ns = least
        return None

    def _drop_up_to(self, pair: tuple[Any, Any]) -> None:
        before = len(self._images[0])
        for images, taken in zip(self._images, pair, strict=True):
            while images and images.popleft() is not taken:
                pass
        self.counters.dropped += before - len(self._images[0]) - 1
        self._unpaired = len(self._images[0])
        self._waiting_since_s = time.monotonic()
