# SPDX-License-Identifier: Apache-2.0
"""A camera of this computer or of the network, without ROS; the newest image is taken."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.errors import ImageError
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.recorded import Recorded, Selection, itself

ADDRESS = re.compile(r'(rtsps?|rtmps?|https?|udp|tcp|srt)://.+|/dev/video\d+')
_WIDTH, _HEIGHT = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT
PATIENCE_S = 10.0  #: without an image


@dataclass(frozen=True, slots=True)
class Live:
    """A camera, read by OpenCV until it ends, `--end` or `--limit` is reached, or Ctrl-C.

    Args:
        path: device or address.
        name: of its outputs; those of an image are in a folder of this name.
        rate: frames per second, as the camera states it.
        size: width and height [px], likewise; None if it does not.
    """

    path: str
    name: str
    rate: float
    size: tuple[int, int] | None = None
    is_sequence = True
    has_camera = False

    @classmethod
    def open(cls, address: str) -> Live:
        """A device such as /dev/video0, or an address such as rtsp://camera/stream.

        Raises:
            ImageError: it cannot be opened.
        """
        capture = _opened(address)
        rate = capture.get(cv2.CAP_PROP_FPS)
        width, height = (int(capture.get(p)) for p in (_WIDTH, _HEIGHT))
        capture.release()
        name = re.sub(r'\W+', '_', address.rpartition('://')[2]).strip('_')
        size = (width, height) if width > 0 and height > 0 else None
        return cls(address, name, rate if 1 <= rate <= 120 else 30.0, size)

    def names(self, selection: Selection) -> list[str]:
        """Empty, as the number of images is not known."""
        return []

    def images(self, selection: Selection) -> Iterator[Recorded]:
        """The images, each the newest when it is asked for.

        Raises:
            ImageError: it cannot be opened, or has not a single image.
        """
        newest = _Newest(_opened(self.path))
        given = 0
        try:
            first_ns = 0
            while selection.limit is None or given < selection.limit:
                found = newest.take()
                if found is None:
                    break
                k, stamp_ns, bgr = found
                first_ns = first_ns or stamp_ns
                at_s = (stamp_ns - first_ns) * 1e-9
                if at_s > selection.end_s:
                    break
                if selection.uses(k, at_s):
                    rgb: NDArray[np.uint8] = np.ascontiguousarray(bgr[..., ::-1], np.uint8)
                    read = partial(itself, ImageFile(rgb, 1, None))
                    yield Recorded(f'{self.name}/{k:06d}', read, stamp_ns, is_frame=True)
                    given += 1
        finally:
            newest.close()
        if not first_ns:
            raise ImageError(f'{self.path} has no image within {PATIENCE_S:g} s')


class _Newest:
    """Reads in a thread, as OpenCV keeps images that are not fetched, and gives old ones."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        self._changed = threading.Condition()
        self._found: tuple[int, int, Any] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        k = 0
        while not self._ended:
            there, bgr = self._capture.read()
            with self._changed:
                if there:
                    self._found = (k, time.time_ns(), bgr)
                    k += 1
                else:
                    self._ended = True
                self._changed.notify()

    def take(self) -> tuple[int, int, Any] | None:
        """Number, time [ns] and pixels of the newest image; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._found or self._ended, PATIENCE_S)
            found, self._found = self._found, None
            return found

    def close(self) -> None:
        self._ended = True
        self._thread.join(PATIENCE_S)
        self._capture.release()


def _opened(address: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(address)
    if not capture.isOpened():
        capture.release()
        raise ImageError(
            f'{address} cannot be opened by OpenCV: check that the camera is there, that no other '
            'program has it, and that you may read it'
        )
    return capture
