# SPDX-License-Identifier: Apache-2.0
"""What recordings of all kinds give: images that are read later, and where they were taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from depth_ros.core.errors import ConfigError, ImageError
from depth_ros.offline.adapt.motion import ROOM_M
from depth_ros.offline.cameras import GivenCamera
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.recorded import Recorded, Selection
from depth_ros.pipeline.two_views.poses import Pose4x4, Track

NONE_LEFT = '{path}: --every, --start and --end leave none of its {count} images'
#: remedy where a recording has no poses
WITHOUT = 'or give --poses none to a network that learns the motion as well (monodepth2)'


@dataclass(frozen=True, slots=True)
class Options:
    """How recordings are read.

    Args:
        topic: of the images of bags; '' for the only one.
        odometry: topic of a bag with poses, instead of TF; '' for TF, else the only
            nav_msgs/Odometry.
        fixed_frame: of TF, which does not move; '' for the first of `bag_poses.FIXED_FRAMES`.
        pose_frame: frame whose poses the topic has; '' for its child_frame_id.
        camera_frame: optical frame of the images; '' for the frame_id of their headers.
        camera_pose: of the optical frame in the frame of the poses, x y z [m] qx qy qz qw; empty
            for TF.
        trajectory: file of poses in the form of TUM RGB-D, of the optical frame or `pose_frame`,
            for a bag or a folder of that form; None for what they have themselves.
        camera: given by the user, which replaces that of a recording.
        rectification: the parameter of depth_node, for bags.
        selection: images that are looked at.
        needs_poses: a recording without poses is refused; if not, no poses are looked for.
        most: images of a recording that are used.
        widest: columns of these images [px]; larger ones are resized.
        depth_m: typical distance of the scene, by which images are chosen [m].
    """

    topic: str = ''
    odometry: str = ''
    fixed_frame: str = ''
    pose_frame: str = ''
    camera_frame: str = ''
    camera_pose: Sequence[float] = ()
    trajectory: Path | None = None
    camera: GivenCamera = field(default_factory=GivenCamera)
    rectification: str = 'auto'
    selection: Selection = field(default_factory=Selection)
    needs_poses: bool = True
    most: int = 400
    widest: int = 640
    depth_m: float = ROOM_M


class Poses(Protocol):
    """Where the images of a recording were taken."""

    @property
    def has_times(self) -> bool:
        """Whether they have stamps, so that they are known at other times than the images'."""

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """First and last time at which they are known [ns]; None if there is none."""

    def at(self, shot: Recorded, offset_ns: int = 0) -> Pose4x4 | None:
        """T_world_camera (4, 4) [m] of the optical frame; None where it is not known.

        Args:
            shot: the image.
            offset_ns: added to its stamp [ns].

        Raises:
            ConfigError: there is an offset and `has_times` is false.
        """


@dataclass(frozen=True, slots=True)
class PosesByTime:
    """Poses of the camera with stamps of the clock of the images."""

    track: Track
    has_times = True

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """See `Poses`."""
        return self.track.span_ns

    def at(self, shot: Recorded, offset_ns: int = 0) -> Pose4x4 | None:
        """See `Poses`."""
        return self.track.at(shot.stamp_ns + offset_ns)


@dataclass(frozen=True, slots=True)
class PosesByImage:
    """A pose for each image, by its name."""

    poses: Mapping[str, Pose4x4]
    has_times = False
    span_ns = None

    def at(self, shot: Recorded, offset_ns: int = 0) -> Pose4x4 | None:
        """See `Poses`."""
        if offset_ns:
            raise ConfigError(
                f'{shot.name}: poses without stamps cannot be shifted by {offset_ns * 1e-9:g} s; '
                'each image has its own pose, and the offset is 0'
            )
        return self.poses.get(shot.name)


def not_read() -> ImageFile:
    """For `Recorded.read` of images that `Source.read` gives."""
    raise ImageError('the image is read with others, by Source.read')


@dataclass(frozen=True, slots=True)
class Source:
    """The images of a bag or folder.

    Args:
        path: of it.
        name: in reports.
        layout: its kind, and where the poses are from.
        shots: the images in order of time, which `read` gives with their pixels.
        poses: None without.
        lacks: why there are no poses, and the remedy.
        read: numbers of shots, sorted -> each number with its image. May raise ImageError.
        skipped: reason -> number of images that cannot be used, or poses without an image.
    """

    path: Path
    name: str
    layout: str
    shots: Sequence[Recorded]
    poses: Poses | None
    lacks: str
    read: Callable[[Sequence[int]], Iterator[tuple[int, Recorded]]]
    skipped: Counter[str] = field(default_factory=Counter)
