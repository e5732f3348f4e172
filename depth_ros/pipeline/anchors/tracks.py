# SPDX-License-Identifier: Apache-2.0
"""Anchors from the motion of the camera: corners are tracked and triangulated with known poses."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import pixel_rays
from depth_ros.core.stamps import went_back
from depth_ros.core.types import Anchors
from depth_ros.pipeline.two_views.keyframes import relative_pose
from depth_ros.pipeline.two_views.poses import Pose4x4

log = logging.getLogger(__name__)

MAX_TRACKS = 250  #: corners followed at once
MAX_AGE_S = 5.0  #: corners are dropped after this time of motion, because odometry drifts
#: the camera is at rest, where odometry does not drift, within this distance [m] and angle [deg]
REST_M, REST_DEG = 0.02, 1.0
SIGMA_PX = 0.7  #: standard deviation of a corner's position, and of the pose seen as pixels
MAX_RELATIVE_SIGMA = 0.15  #: worse anchors are not used
MAX_ERROR_PX = 2.0  #: largest distance from the epipolar line; moving things have more
MAX_RETURN_PX = 0.7  #: largest distance after tracking forth and back
_SIDE_PX = 640  # larger images are tracked at half the size, and so on


@dataclass(slots=True)
class _Track:
    """Corners that were first seen in one image.

    Args:
        first: (N, 2) position in that image [px].
        now: (N, 2) position in the newest image [px].
        T_odom_first: (4, 4), pose of the camera then.
        moved_s: time of motion until then [s].
    """

    first: NDArray[np.float32]
    now: NDArray[np.float32]
    T_odom_first: Pose4x4
    moved_s: float


class Tracks:
    """Corners of a moving camera's images, each with the place where it was first seen."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._tracks: list[_Track] = []
        self._gray: NDArray[np.uint8] | None = None
        self._camera: Camera | None = None
        self._stamp_ns = 0
        self._moved_s = 0.0  # time of motion
        self._T_odom_rest: Pose4x4 | None = None

    def update(
        self, rgb: NDArray[np.uint8], camera: Camera, T_odom_camera: Pose4x4, stamp_ns: int
    ) -> Anchors:
        """Follow the corners into the next image, and triangulate them.

        Args:
            rgb: (H, W, 3) uint8, undistorted.
            camera: of the image.
            T_odom_camera: (4, 4), pose of the optical frame in a frame that does not move [m].
            stamp_ns: of the image [ns]; if it went back, all corners are forgotten.

        Returns:
            Anchors of this image; none as long as the camera has not moved enough.
        """
        if camera != self._camera or went_back(stamp_ns, self._stamp_ns):
            self._clear()
        gray: NDArray[np.uint8] = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
        factor = 1
        while max(gray.shape) > _SIDE_PX * factor:
            factor *= 2
        if factor > 1:
            size = (gray.shape[1] // factor, gray.shape[0] // factor)
            gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        small = camera.resized(gray.shape[1], gray.shape[0])
        if not self._rests(T_odom_camera):
            self._T_odom_rest = T_odom_camera
            self._moved_s += max(0, stamp_ns - self._stamp_ns) * 1e-9 if self._stamp_ns else 0
        if self._gray is not None:
            self._follow(self._gray, gray)
        self._gray, self._camera, self._stamp_ns = gray, camera, stamp_ns
        anchors = self._triangulate(small, camera, T_odom_camera)
        self._add(gray, T_odom_camera)
        return anchors

    def _rests(self, T_odom_camera: Pose4x4) -> bool:
        """Whether the camera is where it last came to rest."""
        if self._T_odom_rest is None:
            return False
        T = relative_pose(self._T_odom_rest, T_odom_camera)
        cosine = (np.trace(T[:3, :3]) - 1) / 2
        return bool(np.linalg.norm(T[:3, 3]) <= REST_M and cosine >= np.cos(np.radians(REST_DEG)))

    def _follow(self, before: NDArray[np.uint8], gray: NDArray[np.uint8]) -> None:
        tracks = [t for t in self._tracks if self._moved_s - t.moved_s <= MAX_AGE_S]
        self._tracks = []
        if not tracks:
            return
        start = np.concatenate([t.now for t in tracks])
        end, found = _flow(before, gray, start)
        back, found_back = _flow(gray, before, end)
        good = found & found_back
        good &= np.linalg.norm(back - start, axis=1) <= MAX_RETURN_PX
        good &= (end >= 0).all(1) & (end <= np.array(gray.shape[::-1]) - 1).all(1)
        begin = 0
        for track in tracks:
            kept = good[begin : begin + len(track.now)]
            now = end[begin : begin + len(track.now)][kept]
            begin += len(track.now)
            if len(now):
                self._tracks.append(
                    _Track(track.first[kept], now, track.T_odom_first, track.moved_s)
                )

    def _add(self, gray: NDArray[np.uint8], T_odom_camera: Pose4x4) -> None:
        """New corners where there are few."""
        missing = MAX_TRACKS - sum(len(t.now) for t in self._tracks)
        if missing < MAX_TRACKS // 5:
            return
        distance = max(gray.shape) / 50
        mask = np.full(gray.shape, 255, np.uint8)
        for track in self._tracks:
            for x, y in track.now:
                cv2.circle(mask, (int(x), int(y)), int(distance), 0, -1)
        corners = cv2.goodFeaturesToTrack(gray, missing, 0.01, distance, mask=mask)
        if corners is not None:
            pixels = np.asarray(corners, np.float32).reshape(-1, 2)
            self._tracks.append(_Track(pixels, pixels, T_odom_camera, self._moved_s))

    def _triangulate(self, small: Camera, camera: Camera, T_odom_camera: Pose4x4) -> Anchors:
        """Anchors of the newest image, in pixels of `camera`; corners are in those of `small`.

        Corners that contradict the poses are dropped: they move, or the odometry jumped.
        """
        parts = [np.empty((0, 4))]
        for track in self._tracks:
            T = relative_pose(T_odom_camera, track.T_odom_first)
            now, first = (
                pixel_rays(pixels[:, 0].astype(float), pixels[:, 1].astype(float), small)
                for pixels in (track.now, track.first)
            )
            turned = first @ T[:3, :3].T
            across = np.cross(now, turned)
            sine2 = np.maximum((across**2).sum(1), 1e-18)
            z = (np.cross(T[:3, 3], turned) * across).sum(1) / sine2  # now * z = turned * k + t
            lengths = np.linalg.norm(now, axis=1) * np.linalg.norm(turned, axis=1)
            parallax = np.sqrt(sine2) / lengths
            sigma = np.abs(z) * np.sqrt(2) * SIGMA_PX / small.fx / parallax
            points = (now * z[:, None] - T[:3, 3]) @ T[:3, :3]  # in the first optical frame
            with np.errstate(divide='ignore', invalid='ignore'):
                expected = points[:, :2] / points[:, 2:] - first[:, :2]
            error_px = np.linalg.norm(expected * (small.fx, small.fy), axis=1)
            good = (z > 0) & (points[:, 2] > 0) & (error_px <= MAX_ERROR_PX)
            good &= sigma <= MAX_RELATIVE_SIGMA * z
            u = (track.now[:, 0] + 0.5) * camera.width / small.width - 0.5
            v = (track.now[:, 1] + 0.5) * camera.height / small.height - 0.5
            parts.append(np.stack((u, v, z, sigma), 1)[good])
            agrees = ~(error_px > 2 * MAX_ERROR_PX)
            track.first, track.now = track.first[agrees], track.now[agrees]
        return Anchors(*np.concatenate(parts).T)


def _flow(
    before: NDArray[np.uint8], after: NDArray[np.uint8], pixels: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pixels (N, 2) of `before` in `after`, and (N,) bool, whether they were found."""
    nothing: Any = None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, pixels, nothing, winSize=(15, 15), maxLevel=3
    )
    return np.asarray(moved, np.float32), np.asarray(found).ravel().astype(bool)
