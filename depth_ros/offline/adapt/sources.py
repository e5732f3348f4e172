# SPDX-License-Identifier: Apache-2.0
"""The bags, folders and videos that can be learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from depth_ros.core.errors import ConfigError
from depth_ros.offline import inputs
from depth_ros.offline.adapt.posed import WITHOUT, Options, Source, not_read
from depth_ros.offline.adapt.posed_bag import open_bag
from depth_ros.offline.adapt.posed_drives import euroc, kitti_odometry, kitti_raw
from depth_ros.offline.adapt.posed_folders import is_picture, per_image, scene, source_of, tum
from depth_ros.offline.evaluation.truth import is_bag, name_of
from depth_ros.offline.inputs import VIDEOS, Video
from depth_ros.offline.recorded import Recorded, Selection

Layout = Callable[[Path, str, Options], Source | None]
#: in this order
LAYOUTS: tuple[Layout, ...] = (tum, kitti_odometry, kitti_raw, euroc, per_image, scene)
TIMED = 'bag', 'TUM'  #: layouts that a file of poses can be given for
KNOWN = (
    'a bag with TF or odometry; a folder in the form of TUM RGB-D, KITTI, EuRoC, 7-Scenes or '
    'ScanNet, or with rgb*.png, intrinsics.json and trajectory.log (docs/adapt.md)'
)


def find(path: Path, options: Options) -> list[Source]:
    """Recordings at a path; in a folder, all those below it.

    Raises:
        ConfigError: there are none, or one lacks something.
        ImageError: one cannot be read.
    """
    if not path.exists():
        raise ConfigError(f'{path} does not exist: check the path of the recording')
    name = name_of(path.resolve())
    if found := list(_below(path, name, options)):
        other = next((one for one in found if not one.layout.startswith(TIMED)), None)
        if options.trajectory is not None and other is not None:
            raise ConfigError(
                f'{other.path} is of the form {other.layout}, to which --trajectory does not '
                'belong: omit it'
            )
        return found
    if not options.needs_poses:
        return [_without_poses(path, name, options)]
    what = 'a video, and has no poses' if path.suffix.lower() in VIDEOS else 'no recording'
    raise ConfigError(f'{path} is {what}. Recordings with poses are: {KNOWN}; {WITHOUT}')


def _below(path: Path, name: str, options: Options) -> Iterator[Source]:
    if is_bag(path):
        yield open_bag(path, name, options)
        return
    if not path.is_dir():
        return
    for layout in LAYOUTS:
        if (found := layout(path, name, options)) is not None:
            yield found
            return
    for inside in sorted(path.iterdir()):
        if not inside.name.startswith('.') and not inside.is_symlink():
            yield from _below(inside, f'{name}/{name_of(inside)}', options)


def _without_poses(path: Path, name: str, options: Options) -> Source:
    """Images of a video or folder, for a network that learns the motion as well.

    Raises:
        ConfigError: there are none.
        ImageError: the video cannot be opened.
    """
    if path.is_file():
        video = inputs.open_file(path, name)
        if isinstance(video, Video):
            return _video(video, options)
        raise ConfigError(f'{path} is a single image: give a bag, a video or a folder of images')
    files = sorted(p for p in path.iterdir() if is_picture(p) and p.is_file())
    if not files:
        raise ConfigError(f'{path} has no images: give a bag, a video or a folder of images')
    return source_of(
        path, name, 'images', [(p, 0) for p in files], None, None, '', Counter(), options
    )


def _video(video: Video, options: Options) -> Source:
    shots = [
        Recorded(shot, not_read, round(k / video.rate * 1e9), is_frame=True)
        for k, shot in enumerate(video.names(Selection()))
        if options.selection.uses(k, k / video.rate)
    ][: options.selection.limit]

    def read(numbers: Sequence[int]) -> Iterator[tuple[int, Recorded]]:
        wanted = set(numbers)
        frames = enumerate(video.images(options.selection))
        yield from ((k, frame) for k, frame in frames if k in wanted)

    return Source(video.path, video.name, 'video', shots, None, '', read)
