# SPDX-License-Identifier: Apache-2.0
"""Measured depth in a bag: a depth image topic, or the points of a LiDAR with TF."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, ImageError, ScaleError
from depth_ros.core.geometry import undistort_depth
from depth_ros.core.stamps import nanoseconds, nearest
from depth_ros.messages.camera_info import camera_from
from depth_ros.messages.sensors import DEPTHS, cloud_points, depth_image
from depth_ros.offline.bag import COMPRESSED, IMAGE, Bag
from depth_ros.offline.bag_reader import INFO, again, decoded, messages, opened
from depth_ros.offline.bag_tf import TF, BagTransforms
from depth_ros.offline.evaluation.measured import Depth, Measured, in_metres, resampled
from depth_ros.offline.recorded import Selection
from depth_ros.pipeline.anchors.points import Points, depth_points, seen_points
from depth_ros.pipeline.two_views.poses import Pose4x4

T = TypeVar('T')

CLOUD = 'sensor_msgs/msg/PointCloud2'
#: frames that do not move with the robot, in the order in which they are tried
FIXED_FRAMES = ('map', 'odom', 'world')
AHEAD_NS = 1_000_000_000  #: TF is read so far beyond the image, because it may be recorded late
SAME_PX = 0.5  #: of intrinsics of depth and image that are the same camera


@dataclass(frozen=True, slots=True)
class TruthOptions:
    """How measured depth is found in bags.

    Args:
        topic: of depth images or points; '' for the only one, depth images first.
        max_offset_ns: between the stamps of image and depth.
        fixed_frame: frame that does not move; '' for the first of `FIXED_FRAMES`.
    """

    topic: str = ''
    max_offset_ns: int = 20_000_000
    fixed_frame: str = ''


@dataclass(frozen=True, slots=True)
class BagTruth:
    """A bag that has measured depth for its images.

    Args:
        bag: the images.
        topic: of the depth.
        is_cloud: the depth is points.
        info_topic: of the camera_info of the depth; '' for none.
        options: how it is used.
    """

    bag: Bag
    topic: str
    is_cloud: bool
    info_topic: str
    options: TruthOptions
    is_sequence = True

    @property
    def path(self) -> Path:
        """Of the bag."""
        return self.bag.path

    @property
    def name(self) -> str:
        """Of the input in reports."""
        return self.bag.name

    @property
    def layout(self) -> str:
        """Where the depth comes from."""
        return f'bag, {"points" if self.is_cloud else "depth"} of {self.topic}'

    @property
    def count(self) -> int:
        """Number of images."""
        return self.bag.count

    @property
    def has_camera(self) -> bool:
        """Whether it tells the camera."""
        return self.bag.has_camera

    @classmethod
    def open(cls, path: Path, name: str, image_topic: str, options: TruthOptions) -> BagTruth:
        """Find the topics.

        Raises:
            ConfigError: there is no such topic, or several.
            ImageError: the bag cannot be read.
        """
        with opened(path) as bag:
            found = _truth_topics(bag)
            infos = {c.topic for c in bag.connections if c.msgtype == INFO}
        if options.topic:
            if options.topic not in {t for topics in found for t in topics}:
                known = ', '.join(t for topics in found for t in topics) or 'none'
                raise ConfigError(
                    f'{path} has no depth topic {options.topic} (--truth); it has: {known}'
                )
            topic = options.topic
        else:
            candidates = found[0] or found[1]
            if len(candidates) != 1:
                what = 'no topic of depth or points' if not candidates else 'several'
                remedy = f': name one with --truth: {", ".join(candidates)}' if candidates else ''
                raise ConfigError(f'{path} has {what}, so no measured depth{remedy}')
            topic = candidates[0]
        base = topic.removesuffix('/compressedDepth').rpartition('/')[0]
        info = f'{base}/camera_info'
        images = Bag.open(path, name, image_topic)
        return cls(images, topic, topic in found[1], info if info in infos else '', options)

    def images(self, selection: Selection, rectification: str = 'auto') -> Iterator[Measured]:
        """The images, those without depth at their time too.

        Args:
            selection: which of them.
            rectification: the parameter.

        Raises:
            ImageError: the bag is damaged.
        """
        with opened(self.path) as bag:
            truth = _Truth(self, bag)
            first_ns: int | None = None
            for recorded in self.bag.images(selection, rectification):
                first_ns = recorded.stamp_ns if first_ns is None else first_ns
                time_s = (recorded.stamp_ns - first_ns) * 1e-9
                at_ns = truth.next_to(recorded.stamp_ns)
                if abs(at_ns - recorded.stamp_ns) > self.options.max_offset_ns:
                    yield Measured(
                        recorded, lambda camera: _none(camera), time_s,
                        lacks_s=abs(at_ns - recorded.stamp_ns) * 1e-9,
                    )  # fmt: skip
                    continue
                truth.follow(recorded.logged_ns)
                pose = truth.pose(recorded.frame_id, recorded.stamp_ns)

                def of(
                    camera: Camera, at_ns: int = at_ns, frame: str = recorded.frame_id
                ) -> Depth:
                    return truth.depth(at_ns, frame, camera)

                yield Measured(recorded, of, time_s, pose)


def _none(camera: Camera) -> Depth:
    return np.full(camera.size, np.nan, np.float32)


def _truth_topics(bag: Any) -> tuple[list[str], list[str]]:
    """Topics of depth images, and of points."""
    depths, clouds = set(), set()
    for connection in bag.connections:
        topic, kind = connection.topic, connection.msgtype
        if not connection.msgcount:
            continue
        if kind == CLOUD:
            clouds.add(topic)
        elif kind == COMPRESSED and topic.endswith('/compressedDepth'):
            depths.add(topic)
        elif kind == IMAGE:
            _, _, raw = next(messages(bag, [connection]))
            encoding = decoded(bag, connection, raw).encoding
            if encoding in DEPTHS and (encoding != 'mono16' or 'depth' in topic.lower()):
                depths.add(topic)
    # of the same images raw ones are enough
    depths -= {f'{topic}/compressedDepth' for topic in depths}
    return sorted(depths), sorted(clouds)


class _Truth:
    """Reads the measured depth and TF of a bag beside its images."""

    def __init__(self, of: BagTruth, bag: Any) -> None:
        self._of, self._bag = of, bag
        self._connections = [c for c in bag.connections if c.topic == of.topic]
        self._logged_ns: dict[int, int] = {}  # by stamp
        for connection, at_ns, raw in messages(bag, self._connections):
            try:
                message = decoded(bag, connection, raw)
            except ImageError:  # the others are there
                continue
            self._logged_ns[nanoseconds(message.header.stamp)] = at_ns
        self._stamps_ns = sorted(self._logged_ns)
        if not self._stamps_ns:
            raise ImageError(f'{of.topic} has no messages that can be read')
        infos = [c for c in bag.connections if of.info_topic and c.topic == of.info_topic]
        self._info = next((decoded(bag, c, r) for c, _, r in messages(bag, infos)), None)
        self._transforms = BagTransforms()
        self._transforms.put_static(bag)
        moving = [c for c in bag.connections if c.topic == TF]
        self._coming = iter(messages(bag, moving))
        self._next: Any = next(self._coming, None)

    def next_to(self, stamp_ns: int) -> int:
        """Stamp of the depth closest to a time [ns]."""
        return nearest(self._stamps_ns, stamp_ns)

    def follow(self, logged_ns: int) -> None:
        """Read TF up to a little after a time of the bag [ns]."""
        while self._next is not None and self._next[1] <= logged_ns + AHEAD_NS:
            connection, _, raw = self._next
            with suppress(ImageError):  # the others are there
                self._transforms.put(decoded(self._bag, connection, raw))
            self._next = next(self._coming, None)

    def pose(self, frame: str, stamp_ns: int) -> Pose4x4 | None:
        """T_fixed_camera (4, 4) [m]; None where TF has no frame that does not move.

        Raises:
            ScaleError: there is not the one that the user named.
        """
        named = self._of.options.fixed_frame
        for fixed in (named,) if named else FIXED_FRAMES:
            try:
                return self._transforms.between(fixed, frame, stamp_ns)
            except ScaleError:
                if named:
                    raise
        return None

    def depth(self, stamp_ns: int, frame: str, camera: Camera) -> Depth:
        """(H, W) [m] in the undistorted pixels of `camera`.

        Args:
            stamp_ns: of the depth.
            frame: optical frame of the image.
            camera: of the image.

        Raises:
            DepthRosError: the message cannot be used.
        """
        message = self._message(stamp_ns)
        theirs = message.header.frame_id
        if self._of.is_cloud:
            T = self._transforms.between(frame, theirs, stamp_ns)
            return projected(cloud_points(message), T, camera)
        z = in_metres(depth_image(message), 1.0)
        own = self._camera(z)
        same_frame = theirs.lstrip('/') == frame.lstrip('/') or not theirs or not frame
        if same_frame and (own is None or _is_same(own, camera)):
            return undistort_depth(resampled(z, camera.size, self._of.topic), camera)
        if own is None:
            raise ImageError(
                f'{self._of.topic} is in the frame {theirs!r} and the image in {frame!r}, and it '
                'has no camera_info: record that, or depth registered to the image'
            )
        T = np.eye(4) if same_frame else self._transforms.between(frame, theirs, stamp_ns)
        return projected(depth_points(z, own), T, camera)

    def _camera(self, z: Depth) -> Camera | None:
        """Of the depth images; None without their camera_info."""
        if self._info is None:
            return None
        height, width = z.shape
        return camera_from(self._info, width, height, rectified=True)

    def _message(self, stamp_ns: int) -> Any:
        return again(self._bag, self._connections, self._logged_ns[stamp_ns], stamp_ns)


def _is_same(one: Camera, other: Camera) -> bool:
    """Whether two cameras are the same, up to the size of the image and distortion."""
    if abs(one.width / one.height * other.height / other.width - 1) > 0.01:
        return False
    one = one.undistorted().resized(other.width, other.height)
    return all(
        abs(getattr(one, name) - getattr(other, name)) <= SAME_PX
        for name in ('fx', 'fy', 'cx', 'cy')
    )


def projected(points: Points, T_camera_sensor: Pose4x4, camera: Camera) -> Depth:
    """Depth image of points: of each small square the nearest one, without those hidden by others.

    Args:
        points: (N, 3) in the frame of their sensor [m].
        T_camera_sensor: (4, 4), maps that frame to the optical frame of the image.
        camera: of the image.

    Returns:
        (H, W) [m] in the undistorted pixels of `camera`; NaN where there is no point.
    """
    camera = camera.undistorted()
    u, v, z = seen_points(points, T_camera_sensor, camera)
    depth = np.full(camera.size, np.nan, np.float32)
    depth[np.rint(v).astype(int), np.rint(u).astype(int)] = z
    return depth
