# SPDX-License-Identifier: Apache-2.0
"""What all kinds of inputs give: recorded images, and which of them are used."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from depth_ros.messages.camera_info import Calibration
from depth_ros.offline.image_file import ImageFile


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images of an input are used.

    Args:
        every: the first of each so many images of a sequence, and of all pictures.
        start_s: of a sequence, from this time on [s].
        end_s: of a sequence, up to this time [s].
        limit: at most so many.
    """

    every: int = 1
    start_s: float = 0.0
    end_s: float = math.inf
    limit: int | None = None

    @property
    def has_times(self) -> bool:
        """Whether the times are limited."""
        return self.start_s > 0 or self.end_s < math.inf

    def uses(self, k: int, at_s: float) -> bool:
        """Whether image `k` of a sequence, at a time since its start, is used."""
        return k % self.every == 0 and self.start_s <= at_s <= self.end_s


def itself(image: ImageFile) -> ImageFile:
    """For `Recorded.read` of an image that has been read."""
    return image


@dataclass(frozen=True, slots=True)
class Recorded:
    """One image.

    Args:
        name: of its outputs, relative and without ending.
        read: its pixels, and focal length where the file has it; may raise ImageError.
        stamp_ns: time [ns].
        logged_ns: time at which a bag recorded it [ns].
        frame_id: of a message.
        is_frame: it is of a sequence, whose name its own begins with.
        calibration: (width, height) -> its camera, where the input has that; may raise
            CameraError.
    """

    name: str
    read: Callable[[], ImageFile]
    stamp_ns: int = 0
    logged_ns: int = 0
    frame_id: str = ''
    is_frame: bool = False
    calibration: Callable[[int, int], Calibration] | None = None
