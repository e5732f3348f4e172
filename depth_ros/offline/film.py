# SPDX-License-Identifier: Apache-2.0
"""A video with the image and its depth side by side, and a legend in metres."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from depth_ros.core.errors import ImageError
from depth_ros.core.types import DepthMap
from depth_ros.offline.colors import colored, legend
from depth_ros.offline.folder import part_of
from depth_ros.offline.recorded import Recorded
from depth_ros.parameters.settings import Settings

SIDE_PX = 960  #: of each half, at most
LONGEST = 300  #: repetitions of a frame


class Film:
    """One video, written under another name until it is closed.

    Args:
        path: of the video.
        rate: frames per second.
        settings: range and map of the colours.
        by_time: repeat a frame until the next one, by their stamps: images come as they can.
    """

    def __init__(
        self, path: Path, rate: float, settings: Settings, *, by_time: bool = False
    ) -> None:
        self.path, self.rate, self.settings = path, rate, settings
        self._part = part_of(path, path.suffix)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._by_time = by_time
        self._written, self._first_ns = 0, 0

    def add(self, depth: DepthMap, recorded: Recorded) -> None:
        """Add a frame; one of another size is scaled to that of the first.

        Raises:
            ImageError: the video cannot be written.
        """
        frame = side_by_side(depth, self.settings)
        if self._writer is None:
            self._size = frame.shape[1], frame.shape[0]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(self._part), code, self.rate, self._size)
            if not self._writer.isOpened():
                raise ImageError(f'{self.path} cannot be written; choose another --output')
        if (frame.shape[1], frame.shape[0]) != self._size:
            frame = cv2.resize(frame, self._size)
        count = 1
        if self._by_time:
            self._first_ns = self._first_ns or recorded.stamp_ns
            at_s = (recorded.stamp_ns - self._first_ns) * 1e-9
            count = min(max(0, 1 + round(at_s * self.rate) - self._written), LONGEST)
        for _ in range(count):
            self._writer.write(frame)
        self._written += count

    def close(self, *, whole: bool) -> None:
        """End the video; it has its name only if it is whole."""
        if self._writer is not None:
            self._writer.release()
            if whole:
                os.replace(self._part, self.path)
            else:
                self._part.unlink(missing_ok=True)


def side_by_side(depth: DepthMap, settings: Settings) -> Any:
    """(h, w, 3) uint8 BGR: image, depth as colours, and a legend; sides are even."""
    bgr = depth.rgb.cpu().numpy()[..., ::-1]
    colors = colored(depth, settings)
    factor = min(1.0, SIDE_PX / max(bgr.shape[:2]))
    height, width = (max(2, round(side * factor / 2) * 2) for side in bgr.shape[:2])
    halves = [cv2.resize(half, (width, height), interpolation=cv2.INTER_AREA)
              for half in (np.ascontiguousarray(bgr), colors)]  # fmt: skip
    return np.hstack([*halves, legend(height, settings)])
