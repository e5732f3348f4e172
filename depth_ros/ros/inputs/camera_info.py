# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo: which one belongs to an image, and that of the outputs."""

from __future__ import annotations

from collections import deque
from typing import Any

from sensor_msgs.msg import CameraInfo

from depth_ros.core.camera import Camera
from depth_ros.messages.camera_info import fields_of

#: how long an image waits for a camera_info that fits better than those at hand [s]
INFO_WAIT_S = 0.1


def to_message(camera: Camera, header: Any) -> CameraInfo:
    """CameraInfo of a camera: R identity, P = [K | 0], D zero if it is undistorted."""
    return CameraInfo(header=header, **fields_of(camera))


class CameraInfoCache:
    """The latest camera_info messages of one camera, and the choice among them."""

    def __init__(self) -> None:
        self._recent: deque[CameraInfo] = deque(maxlen=10)
        self._accepted: set[Any] = set()  # mismatches that were taken after waiting in vain

    def add(self, info: CameraInfo) -> None:
        """Keep a message."""
        self._recent.append(info)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._recent)

    def info_for(self, image: Any, waited_s: float) -> CameraInfo | None:
        """The camera_info of an image; None while a better one may still come.

        One of the image's stamp is taken at once, and so is one of its frame_id and size. Any
        other is taken after `INFO_WAIT_S`, in case the right one is late. For later images with
        the same mismatch it is taken at once.

        Args:
            image: sensor_msgs/Image or CompressedImage.
            waited_s: since the image arrived [s].
        """
        info = self.exact(image.header)
        if info is not None:
            return info
        # the size of a compressed image is known only after decoding
        size = (image.width, image.height) if hasattr(image, 'width') else None
        info = self.nearest(image.header, size)
        if info is None:
            return None
        described = (info.width, info.height)
        if info.header.frame_id == image.header.frame_id and size in (None, described):
            return info
        mismatch = (image.header.frame_id, size, info.header.frame_id, described)
        if waited_s >= INFO_WAIT_S:
            self._accepted.add(mismatch)
        return info if mismatch in self._accepted else None

    def exact(self, header: Any) -> CameraInfo | None:
        """The message of the image's stamp; of several, the one of its frame_id."""
        same = [i for i in reversed(self._recent) if i.header.stamp == header.stamp]
        of_frame = [i for i in same if i.header.frame_id == header.frame_id]
        return next(iter(of_frame or same), None)

    def nearest(self, header: Any, size: tuple[int, int] | None = None) -> CameraInfo | None:
        """The latest of the image's frame_id, preferably of its (width, height); else of all."""
        infos = [i for i in reversed(self._recent) if i.header.frame_id == header.frame_id]
        infos = infos or list(reversed(self._recent))
        of_size = [i for i in infos if (i.width, i.height) == size]
        return next(iter(of_size or infos), None)
