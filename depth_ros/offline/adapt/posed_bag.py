# SPDX-License-Identifier: Apache-2.0
"""The images of a bag, which are read again when they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from depth_ros.core.bit_depth import BitDepth
from depth_ros.core.errors import ConfigError, ImageError
from depth_ros.core.stamps import went_back
from depth_ros.messages.images import to_rgb
from depth_ros.offline.adapt.bag_poses import find_poses
from depth_ros.offline.adapt.posed import NONE_LEFT, Options, Poses, Source, not_read
from depth_ros.offline.bag import Bag
from depth_ros.offline.bag_reader import again, opened
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.recorded import Recorded

DAMAGED = 'a message cannot be read'
EARLIER = 'an image of before the time went back, as at the restart of a simulation'


def open_bag(path: Path, name: str, options: Options) -> Source:
    """A bag of any kind that `bag_reader` reads.

    Raises:
        ConfigError: a topic or frame is missing, or there are several.
        ImageError: the bag cannot be read.
    """
    images = Bag.open(path, name, options.topic)
    skipped: Counter[str] = Counter()
    shots = _shots(images, options, skipped)
    if not shots and not skipped:
        raise ConfigError(NONE_LEFT.format(path=path, count=images.count))
    if not shots:
        raise ImageError(f'{path}: no message of {images.topic} can be read')
    poses: Poses | None = None
    layout = 'bag'
    if options.needs_poses:
        with opened(path) as bag:
            layout, poses = find_poses(bag, path, shots[0].frame_id, options, skipped)
    read = partial(_read, images, shots)
    return Source(path, name, layout, shots, poses, '', read, skipped)


def _shots(images: Bag, options: Options, skipped: Counter[str]) -> list[Recorded]:
    """The images without their pixels."""
    shots: list[Recorded] = []
    newest_ns = 0
    try:
        for recorded in images.images(options.selection, options.rectification):
            if not _is_whole(recorded):
                skipped[DAMAGED] += 1
                continue
            if shots and went_back(recorded.stamp_ns, newest_ns):  # and with it the poses
                skipped[EARLIER] += len(shots)
                shots.clear()
            newest_ns = recorded.stamp_ns
            # the message is not kept
            frame = options.camera_frame or recorded.frame_id
            shots.append(replace(recorded, read=not_read, frame_id=frame))
    except ImageError as error:  # the images before the damage are there
        if not shots:
            raise
        skipped[f'the bag is damaged after an image ({error})'] += 1
    return sorted(shots, key=lambda shot: shot.stamp_ns)


def _is_whole(recorded: Recorded) -> bool:
    """Whether its message was read; a damaged one has no stamp."""
    if recorded.stamp_ns or recorded.frame_id or recorded.calibration is not None:
        return True
    try:
        recorded.read()
    except ImageError:
        return False
    return True


def _read(
    images: Bag, shots: Sequence[Recorded], numbers: Sequence[int]
) -> Iterator[tuple[int, Recorded]]:
    """Each image, which is searched by its time: a bag of an hour is not read again."""
    bit_depth = BitDepth()
    with opened(images.path) as bag:
        connections = [c for c in bag.connections if c.topic == images.topic]

        def pixels(shot: Recorded) -> ImageFile:
            message = again(bag, connections, shot.logged_ns, shot.stamp_ns)
            return ImageFile(to_rgb(message, bit_depth), 1, None)

        for k in numbers:
            yield k, replace(shots[k], read=partial(pixels, shots[k]))
