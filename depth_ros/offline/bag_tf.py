# SPDX-License-Identifier: Apache-2.0
"""TF of a bag: poses between frames at the time of an image; needs no ROS."""

from __future__ import annotations

from typing import Any

import numpy as np

from depth_ros.core.errors import ConfigError, ImageError, ScaleError
from depth_ros.core.stamps import nanoseconds
from depth_ros.messages.poses import pose_of
from depth_ros.offline.bag_reader import decoded, messages
from depth_ros.pipeline.two_views.poses import Pose4x4, PoseBuffer

TF, TF_STATIC = '/tf', '/tf_static'
KEPT_S = 10.0  #: as tf2
MAX_GAP_S = 10.0  #: between two transforms that are interpolated


class BagTransforms:
    """TF as `put` has been given it so far; see `messages.poses.Transforms`."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._static: dict[str, Pose4x4] = {}
        self._moving: dict[str, PoseBuffer] = {}
        self._bad: dict[str, str] = {}

    def put_static(self, bag: Any) -> None:
        """Read all of /tf_static, which holds for the whole bag wherever it was recorded."""
        connections = [c for c in bag.connections if c.topic == TF_STATIC]
        for connection, _, raw in messages(bag, connections):
            try:
                self.put(decoded(bag, connection, raw), static=True)
            except ImageError:  # `between` says what is not known
                continue

    def put(self, message: Any, *, static: bool = False) -> None:
        """Keep the transforms of a tf2_msgs/TFMessage."""
        for transform in message.transforms:
            child = transform.child_frame_id.lstrip('/')
            self._bad.pop(child, None)
            self._parents[child] = transform.header.frame_id.lstrip('/')
            try:
                T = pose_of(transform.transform.translation, transform.transform.rotation)
            except ConfigError as error:
                self._bad[child] = str(error)
                continue
            if static:
                self._static[child] = T
            else:
                poses = self._moving.setdefault(child, PoseBuffer(KEPT_S, MAX_GAP_S))
                poses.add(nanoseconds(transform.header.stamp), T)

    def between(self, target: str, source: str, stamp_ns: int = 0) -> Pose4x4:
        """T_target_source, (4, 4) float64 [m].

        Args:
            target: frame to which points are mapped.
            source: frame of the points.
            stamp_ns: time of the transform [ns]; where it is not known, the next known time is
                taken. 0: the latest.

        Raises:
            ScaleError: TF does not connect the two.
        """
        target, source = target.lstrip('/'), source.lstrip('/')
        up_source, up_target = self._to_root(source), self._to_root(target)
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is None or target == source:
            known = ', '.join(sorted({*self._parents, *self._parents.values()})) or 'none'
            raise ScaleError(
                f'the TF of the bag has no transform from {source!r} to {target!r}; its frames: '
                f'{known}'
            )
        T_common_source = self._chain(up_source[: up_source.index(common)], stamp_ns)
        T_common_target = self._chain(up_target[: up_target.index(common)], stamp_ns)
        found: Pose4x4 = np.linalg.inv(T_common_target) @ T_common_source
        return found

    def _to_root(self, frame: str) -> list[str]:
        """The frame, its parent, and so on."""
        frames = [frame]
        while (parent := self._parents.get(frames[-1])) is not None and parent not in frames:
            frames.append(parent)
        return frames

    def _chain(self, children: list[str], stamp_ns: int) -> Pose4x4:
        """Pose of the first frame in the parent of the last."""
        T = np.eye(4)
        for child in children:
            if child in self._bad:
                raise ScaleError(f'TF of {child!r}: {self._bad[child]}')
            if child in self._static:
                T = self._static[child] @ T
                continue
            poses = self._moving[child]
            at = poses.at(stamp_ns) if stamp_ns else None
            T = (poses.nearest(stamp_ns) if at is None else at) @ T
        return T

    def close(self) -> None:
        """Nothing to do."""
