# SPDX-License-Identifier: Apache-2.0
"""TF of a bag: poses between frames at the time of an image; needs no ROS."""

from __future__ import annotations

from collections.abc import Callable, Container
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


def _recent() -> PoseBuffer:
    return PoseBuffer(KEPT_S, MAX_GAP_S)


class BagTransforms:
    """TF as `put` has been given it so far; see `messages.poses.Transforms`.

    Args:
        new: makes the buffer of a frame that moves.
        only: frames whose transform to their parent is kept; None for all.
    """

    def __init__(
        self, new: Callable[[], PoseBuffer] = _recent, only: Container[str] | None = None
    ) -> None:
        self._new, self._only = new, only
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
            if self._only is not None and child not in self._only:
                continue
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
                if child not in self._moving:
                    self._moving[child] = self._new()
                self._moving[child].add(nanoseconds(transform.header.stamp), T)

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
        of_source, of_target = self._ways(target, source)
        T_common_source = self._chain(of_source, stamp_ns)
        T_common_target = self._chain(of_target, stamp_ns)
        found: Pose4x4 = np.linalg.inv(T_common_target) @ T_common_source
        return found

    def interpolated(self, target: str, source: str, stamp_ns: int) -> Pose4x4 | None:
        """T_target_source, (4, 4) float64 [m]; None where a transform is not known at that time.

        Raises:
            ScaleError: TF does not connect the two.
        """
        of_source, of_target = self._ways(target, source)
        T_common_source = self._known(of_source, stamp_ns)
        T_common_target = self._known(of_target, stamp_ns)
        if T_common_source is None or T_common_target is None:
            return None
        found: Pose4x4 = np.linalg.inv(T_common_target) @ T_common_source
        return found

    def route(self, target: str, source: str) -> list[str]:
        """Frames whose transform to their parent `between` needs.

        Raises:
            ScaleError: TF does not connect the two.
        """
        of_source, of_target = self._ways(target, source)
        return [*of_source, *of_target]

    def above(self, frame: str) -> list[str]:
        """The parent of a frame, its parent, and so on."""
        return self._to_root(frame.lstrip('/'))[1:]

    def frames(self) -> list[str]:
        """All that are known, sorted."""
        return sorted({*self._parents, *self._parents.values()})

    def reason(self, frame: str) -> str:
        """Why not a single pose of a frame in its parent is known; '' if one is."""
        if frame in self._static or frame in self._moving:
            return ''
        return f'TF of {frame!r}: {self._bad.get(frame, "it was not recorded")}'

    def moving(self, frame: str) -> PoseBuffer | None:
        """The poses of a frame in its parent; None for one that is static or not known."""
        return None if frame in self._static else self._moving.get(frame)

    def _ways(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Frames below the common one, from the source and from the target.

        Raises:
            ScaleError: TF does not connect the two.
        """
        target, source = target.lstrip('/'), source.lstrip('/')
        up_source, up_target = self._to_root(source), self._to_root(target)
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is None or target == source:
            known = ', '.join(self.frames()) or 'none'
            raise ScaleError(
                f'the TF of the bag has no transform from {source!r} to {target!r}; its frames: '
                f'{known}'
            )
        return up_source[: up_source.index(common)], up_target[: up_target.index(common)]

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

    def _known(self, children: list[str], stamp_ns: int) -> Pose4x4 | None:
        """Pose of the first frame in the parent of the last; None where one is not known."""
        T = np.eye(4)
        for child in children:
            pose = self._static.get(child)
            if pose is None and child in self._moving:
                pose = self._moving[child].at(stamp_ns)
            if pose is None:
                return None
            T = pose @ T
        return T

    def close(self) -> None:
        """Nothing to do."""
