# SPDX-License-Identifier: Apache-2.0
"""Images of rosbag2 (mcap, sqlite3) and ROS 1 bags, with their camera_info; needs no ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from depth_ros.core.bit_depth import BitDepth
from depth_ros.core.errors import ConfigError, ImageError
from depth_ros.core.stamps import nanoseconds
from depth_ros.messages.camera_info import Calibration, calibration_from, named_rectified
from depth_ros.messages.images import ENCODINGS, to_rgb
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.recorded import Recorded, Selection

ENDINGS = frozenset({'.mcap', '.db3', '.bag'})
IMAGE, COMPRESSED, INFO = (
    f'sensor_msgs/msg/{name}' for name in ('Image', 'CompressedImage', 'CameraInfo')
)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The bag in a reader of the library rosbags.

    Raises:
        ConfigError: the library is not installed.
        ImageError: this is no bag that it reads.
    """
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise ConfigError(
            f'{path} is a bag, and rosbags is not installed: pip install rosbags'
        ) from None
    try:
        bag = AnyReader([path], default_typestore=get_typestore(Stores.LATEST))
        bag.open()
    except Exception as error:  # of the library, of sqlite3 and of a damaged file
        raise ImageError(f'{path} is no bag that can be read ({error})') from error
    try:
        yield bag
    finally:
        bag.close()


@dataclass(frozen=True, slots=True)
class Bag:
    """The images of one topic of a bag.

    Args:
        path: of the bag: its folder, or a single file.
        name: of its outputs; those of an image are in a folder of this name.
        topic: of the images.
        info_topic: of their camera_info; '' for none.
        rate: images per second.
        count: number of images.
    """

    path: Path
    name: str
    topic: str
    info_topic: str
    rate: float
    count: int
    is_sequence = True

    @property
    def has_camera(self) -> bool:
        """Whether it tells the camera."""
        return bool(self.info_topic)

    @classmethod
    def open(cls, path: Path, name: str, topic: str = '') -> Bag:
        """Find the topics.

        Args:
            path: of the bag.
            name: of its outputs.
            topic: of the images; '' for the only one with colour or grey images.

        Raises:
            ConfigError: there is no such topic, or several.
            ImageError: the bag cannot be read.
        """
        with opened(path) as bag:
            candidates = [c for c in bag.connections if c.msgtype in (IMAGE, COMPRESSED)]
            if topic:
                found = [c for c in candidates if c.topic == topic]
            else:
                found = [c for c in candidates if _has_pictures(bag, c)]
            if len({c.topic for c in found}) != 1:
                topics = ', '.join(sorted({c.topic for c in candidates})) or 'none'
                what = f'no image topic {topic}' if topic else f'{len(found)} image topics'
                raise ConfigError(f'{path} has {what}; name one with --topic: {topics}')
            count = sum(c.msgcount for c in found)
            topic = found[0].topic
            infos = {c.topic for c in bag.connections if c.msgtype == INFO}
            seconds = (bag.end_time - bag.start_time) * 1e-9
            rate = (count - 1) / seconds if count > 1 and seconds > 0 else 10.0
        return cls(path, name, topic, _info_topic(topic, infos), min(max(rate, 1.0), 120.0), count)

    def _name(self, k: int) -> str:
        return f'{self.name}/{k:06d}'

    def names(self, selection: Selection) -> list[str]:
        """Of its images."""
        if not selection.has_times:
            used = list(range(0, self.count, selection.every))
        else:
            with opened(self.path) as bag:
                used = [k for k, *_ in self._used(bag, selection)]
        return [self._name(k) for k in used][: selection.limit]

    def _used(self, bag: Any, selection: Selection) -> Iterator[tuple[int, int, Any, bytes]]:
        """Number, time [ns], connection and data of each message that is used."""
        connections = [c for c in bag.connections if c.topic == self.topic]
        for k, (connection, at_ns, raw) in enumerate(bag.messages(connections)):
            if selection.uses(k, (at_ns - bag.start_time) * 1e-9):
                yield k, at_ns, connection, raw

    def images(self, selection: Selection) -> Iterator[Recorded]:
        """The images, each to be decoded by `Recorded.read`.

        Raises:
            ImageError: the bag is damaged here.
        """
        bit_depth = BitDepth()
        with opened(self.path) as bag:
            infos = _Infos(bag, self.info_topic, self.topic)
            for given, (k, at_ns, connection, raw) in enumerate(self._used(bag, selection)):
                if given == selection.limit:
                    break
                recorded = self._recorded(self._name(k), bag, connection, raw, infos, bit_depth)
                yield replace(recorded, logged_ns=at_ns)

    def _recorded(
        self, name: str, bag: Any, connection: Any, raw: bytes, infos: _Infos, bit_depth: BitDepth
    ) -> Recorded:
        try:
            message = bag.deserialize(raw, connection.msgtype)
        except Exception as error:  # of the library, for data that do not fit the type
            text = f'{self.topic}: a message cannot be read ({error})'
            return Recorded(name, lambda: _fail(text), is_frame=True)
        return Recorded(
            name,
            lambda: ImageFile(to_rgb(message, bit_depth), 1, None),
            nanoseconds(message.header.stamp),
            frame_id=message.header.frame_id,
            is_frame=True,
            calibration=infos.of(message.header) if self.info_topic else None,
        )


class _Infos:
    """The camera_info messages of a bag."""

    def __init__(self, bag: Any, topic: str, image_topic: str) -> None:
        self._rectified = True if named_rectified(image_topic) else None
        self._because = f'the topic {image_topic} is named so'
        self._by_stamp: dict[int, Any] = {}
        for connection, _, raw in bag.messages([c for c in bag.connections if c.topic == topic]):
            message = bag.deserialize(raw, connection.msgtype)
            self._by_stamp[nanoseconds(message.header.stamp)] = message

    def of(self, header: Any) -> Any:
        """Finds the camera of the image with this header: (width, height) -> `Calibration`."""
        stamp_ns = nanoseconds(header.stamp)
        info = self._by_stamp.get(stamp_ns)
        if info is None:
            nearest = min(self._by_stamp, key=lambda ns: abs(ns - stamp_ns))
            info = self._by_stamp[nearest]

        def calibration(width: int, height: int) -> Calibration:
            return calibration_from(info, width, height, self._rectified, self._because)

        return calibration


def _fail(text: str) -> ImageFile:
    raise ImageError(text)


def _has_pictures(bag: Any, connection: Any) -> bool:
    """Whether a topic has colour or grey images, and no depth."""
    if 'depth' in connection.topic.lower().split('/')[-1] or not connection.msgcount:
        return False
    if connection.msgtype == COMPRESSED:
        return 'compressedDepth' not in connection.topic
    _, _, raw = next(bag.messages([connection]))
    encoding = bag.deserialize(raw, connection.msgtype).encoding
    names_depth = 'depth' in connection.topic.lower() or 'disparity' in connection.topic.lower()
    return encoding in ENCODINGS and not (names_depth and encoding == 'mono16')


def _info_topic(topic: str, infos: set[str]) -> str:
    """The camera_info beside an image topic; else the only one; '' for none."""
    base = topic.removesuffix('/compressed').rpartition('/')[0]
    beside = f'{base}/camera_info'
    if beside in infos:
        return beside
    return next(iter(infos)) if len(infos) == 1 else ''
