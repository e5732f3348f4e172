# SPDX-License-Identifier: Apache-2.0
"""Poses of the camera of a bag: by TF, a topic of poses, or a file of a SLAM program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depth_ros.core.errors import ConfigError, ImageError, ScaleError
from depth_ros.core.stamps import nanoseconds
from depth_ros.messages.poses import PoseSource, pose_of
from depth_ros.offline.adapt.posed import WITHOUT, Options, Poses
from depth_ros.offline.adapt.posed_folders import read_track
from depth_ros.offline.bag_reader import decoded, messages
from depth_ros.offline.bag_tf import TF, BagTransforms
from depth_ros.offline.recorded import Recorded
from depth_ros.pipeline.two_views.poses import Pose4x4, Track

#: tried in this order: odom never jumps, while a map is corrected now and then (REP 105)
FIXED_FRAMES = ('odom', 'map', 'world')
ODOMETRY = 'nav_msgs/msg/Odometry'
POSES = frozenset({ODOMETRY, 'geometry_msgs/msg/TransformStamped'}) | {
    f'geometry_msgs/msg/{name}' for name in ('PoseStamped', 'PoseWithCovarianceStamped')
}
#: what a recording needs, for messages
RECORD = 'record /tf, /tf_static and the odometry with the images'


@dataclass(frozen=True, slots=True)
class _ByTf:
    """Poses of TF."""

    transforms: BagTransforms
    fixed: str
    span_ns: tuple[int, int] | None
    has_times = True

    def at(self, shot: Recorded, offset_ns: int = 0) -> Pose4x4 | None:
        return self.transforms.interpolated(self.fixed, shot.frame_id, shot.stamp_ns + offset_ns)


@dataclass(frozen=True, slots=True)
class _ByTopic:
    """Poses of a topic, of a frame on which the camera is mounted."""

    track: Track
    frame: str
    transforms: BagTransforms
    fixed: Pose4x4 | None
    has_times = True

    @property
    def span_ns(self) -> tuple[int, int] | None:
        return self.track.span_ns

    def at(self, shot: Recorded, offset_ns: int = 0) -> Pose4x4 | None:
        stamp_ns = shot.stamp_ns + offset_ns
        T_world_frame = self.track.at(stamp_ns)
        if T_world_frame is None:
            return None
        if self.fixed is not None:
            return T_world_frame @ self.fixed
        if _same(self.frame, shot.frame_id):
            return T_world_frame
        T_frame_camera = self.transforms.interpolated(self.frame, shot.frame_id, stamp_ns)
        return None if T_frame_camera is None else T_world_frame @ T_frame_camera


def _same(one: str, other: str) -> bool:
    return one.lstrip('/') == other.lstrip('/')


def find_poses(
    bag: Any, path: Path, camera: str, options: Options, skipped: Counter[str]
) -> tuple[str, Poses]:
    """Where the poses are from, and the poses.

    Raises:
        ConfigError: there are none, or several topics of them.
    """
    given = {
        '--fixed-frame': options.fixed_frame,
        '--odometry': options.odometry,
        '--trajectory': options.trajectory,
    }
    if len(named := [name for name, value in given.items() if value]) > 1:
        raise ConfigError(f'poses have one source, but there are {" and ".join(named)}: give one')
    mount = options.pose_frame or options.camera_pose
    if mount and options.fixed_frame:
        raise ConfigError(
            '--pose-frame and --camera-pose say whose poses a topic or file has: omit them, or '
            '--fixed-frame'
        )
    tree = _tree(bag, camera, options.fixed_frame)
    if options.trajectory is not None:
        track = read_track(options.trajectory, skipped)
        frame = options.pose_frame or camera
        what = f'bag, poses of {options.trajectory.name}'
        return what, _mounted(bag, f'{options.trajectory}', track, frame, camera, tree, options)
    if options.odometry:
        return _by_topic(bag, path, options.odometry, camera, tree, options)
    fixed_frame = options.fixed_frame
    above = [] if mount else tree.above(camera)
    for fixed in (fixed_frame,) if fixed_frame else FIXED_FRAMES:
        if fixed.lstrip('/') in above:
            return f'bag, poses of TF {fixed}', _by_tf(bag, tree, fixed, camera)
    if fixed_frame:
        raise ConfigError(
            f'{path}: there is no --fixed-frame {fixed_frame} above the camera: '
            f'{_above(tree, camera)}'
        )
    topics = sorted({c.topic for c in bag.connections if c.msgtype == ODOMETRY and c.msgcount})
    if len(topics) == 1:
        return _by_topic(bag, path, topics[0], camera, tree, options)
    if topics:
        raise ConfigError(
            f'{path} has {len(topics)} topics of {ODOMETRY}; name one with --odometry: '
            f'{", ".join(topics)}'
        )
    others = sorted({c.topic for c in bag.connections if c.msgtype in POSES and c.msgcount})
    remedy = 'name the frame that does not move with --fixed-frame, ' if above else ''
    if others:
        remedy += f'name a topic of poses with --odometry ({", ".join(others)}), '
    raise ConfigError(
        f'{path} has no poses of the camera. TF has none of {", ".join(FIXED_FRAMES)} above it: '
        f'{_above(tree, camera)}. There is no {ODOMETRY}. Remedies: {remedy}{RECORD}, {WITHOUT}'
    )


def _above(tree: BagTransforms, camera: str) -> str:
    if above := tree.above(camera):
        return f'above the frame {camera!r} of the images there is {", ".join(above)}'
    known = ', '.join(tree.frames()) or 'none'
    return (
        f'there is no frame above {camera!r}, that of the images (another one: --camera-frame); '
        f'all frames: {known}'
    )


def _tree(bag: Any, camera: str, fixed_frame: str) -> BagTransforms:
    """All frames; read as far as the wanted one is found above the camera."""
    tree = BagTransforms()
    tree.put_static(bag)
    wanted = (fixed_frame or FIXED_FRAMES[0]).lstrip('/')
    for message in _transforms(bag):
        tree.put(message)
        if wanted in tree.above(camera):
            break
    return tree


def _transforms(bag: Any) -> Iterator[Any]:
    """The messages of /tf, as far as they can be read."""
    connections = [c for c in bag.connections if c.topic == TF]
    try:
        for connection, _, raw in messages(bag, connections):
            try:
                yield decoded(bag, connection, raw)
            except ImageError:  # the others are there
                continue
    except ImageError:  # those before the damage are there
        return


def _kept(bag: Any, frames: Collection[str]) -> BagTransforms:
    """The transforms of some frames to their parents, of the whole bag.

    Raises:
        ConfigError: there is none that is valid.
    """
    kept = BagTransforms(Track, frames)
    kept.put_static(bag)
    if frames:
        for message in _transforms(bag):
            kept.put(message)
    if reasons := [reason for frame in frames if (reason := kept.reason(frame))]:
        raise ConfigError('; '.join(reasons))
    return kept


def _by_tf(bag: Any, tree: BagTransforms, fixed: str, camera: str) -> _ByTf:
    route = tree.route(fixed, camera)
    kept = _kept(bag, route)
    spans = [
        moving.span_ns
        for moving in map(kept.moving, route)
        if isinstance(moving, Track) and moving.span_ns
    ]
    span_ns = (max(a for a, _ in spans), min(b for _, b in spans)) if spans else None
    return _ByTf(kept, fixed, span_ns)


def _by_topic(
    bag: Any, path: Path, topic: str, camera: str, tree: BagTransforms, options: Options
) -> tuple[str, _ByTopic]:
    """Poses of a topic.

    Raises:
        ConfigError: it is no topic of poses, or the camera's place in its frame is not known.
    """
    known = sorted({c.topic for c in bag.connections if c.msgtype in POSES})
    if topic not in known:
        kinds = ', '.join(sorted(kind.rpartition('/')[2] for kind in POSES))
        raise ConfigError(
            f'{path} has no topic {topic} (--odometry) of {kinds}; it has: '
            f'{", ".join(known) or "none"}'
        )
    track, frame = _track(bag, topic)
    frame = options.pose_frame or frame
    return f'bag, poses of {topic}', _mounted(bag, topic, track, frame, camera, tree, options)


def _mounted(
    bag: Any,
    what: str,
    track: Track,
    frame: str,
    camera: str,
    tree: BagTransforms,
    options: Options,
) -> _ByTopic:
    """Poses of a camera that is mounted on the frame which has them.

    Raises:
        ConfigError: the camera's place in that frame is not known.
    """
    values = list(options.camera_pose) or [0.0] * 7
    fixed = PoseSource('--camera-pose', values, lambda: tree).fixed
    if fixed is not None or _same(frame, camera):
        return _ByTopic(track, frame, tree, fixed)
    if not frame:
        raise ConfigError(
            f'{what} does not tell whose pose it is (child_frame_id); name that frame with '
            '--pose-frame, or give --camera-pose'
        )
    try:
        kept = _kept(bag, tree.route(frame, camera))
    except (ScaleError, ConfigError) as error:
        raise ConfigError(
            f'{what} has poses of {frame!r}, and the place of the camera on it is not known: '
            f'{error}. Record /tf_static; or give --camera-pose x y z qx qy qz qw of the '
            'optical frame, or --pose-frame or --camera-frame if the name of a frame is wrong'
        ) from error
    return _ByTopic(track, frame, kept, None)


def _track(bag: Any, topic: str) -> tuple[Track, str]:
    """The poses of a topic, and the frame that they are of; '' if it is not known."""
    track, frame = Track(), ''
    connections = [c for c in bag.connections if c.topic == topic]
    try:
        for connection, _, raw in messages(bag, connections):
            try:
                message = decoded(bag, connection, raw)
                track.add(nanoseconds(message.header.stamp), _pose(message))
            except (ImageError, ConfigError):  # the others are there
                continue
            frame = getattr(message, 'child_frame_id', '')
    except ImageError:  # those before the damage are there
        pass
    return track, frame


def _pose(message: Any) -> Pose4x4:
    """Pose of a message of a type of `POSES`.

    Raises:
        ConfigError: it is no pose.
    """
    if hasattr(message, 'transform'):
        return pose_of(message.transform.translation, message.transform.rotation)
    pose = message.pose
    pose = getattr(pose, 'pose', pose)  # with covariance
    return pose_of(pose.position, pose.orientation)
