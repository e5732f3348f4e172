# SPDX-License-Identifier: Apache-2.0
"""Images of rosbag2 (mcap, sqlite3) and ROS 1 bags, with their camera_info; needs no ROS."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from depth_ros.core.bit_depth import BitDepth
from depth_ros.core.errors import CameraError, ConfigError, ImageError
from depth_ros.core.stamps import nanoseconds, nearest
from depth_ros.messages.camera_info import Calibration, calibration_from, how_rectified, info_topic
from depth_ros.messages.images import ENCODINGS, to_rgb
from depth_ros.offline.bag_reader import INFO, decoded, messages, opened
from depth_ros.offline.bag_sensors import LOOKAHEAD_S, BagSensors
from depth_ros.offline.image_file import ImageFile
from depth_ros.offline.recorded import Recorded, Selection

ENDINGS = frozenset({'.mcap', '.db3', '.bag'})
JPEG = b'\xff\xd8'  #: begins each file of this format, which has 8 bits
IMAGE, COMPRESSED = (f'sensor_msgs/msg/{name}' for name in ('Image', 'CompressedImage'))


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
        return cls(path, name, topic, info_topic(topic, infos), min(max(rate, 1.0), 120.0), count)

    def has_16_bits(self) -> bool:
        """Whether its first image may have 16 bits: raw ones do by their encoding, PNG may.

        Raises:
            ImageError: the bag cannot be read.
        """
        with opened(self.path) as bag:
            connections = [c for c in bag.connections if c.topic == self.topic]
            for connection, _, raw in messages(bag, connections):
                try:
                    message = decoded(bag, connection, raw)
                except ImageError:
                    return True
                if connection.msgtype == COMPRESSED:
                    return bytes(message.data[:2]) != JPEG or '16' in message.format
                return '16' in message.encoding
        return False

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

    def _used(
        self, bag: Any, selection: Selection, sensors: BagSensors | None = None
    ) -> Iterator[tuple[int, int, Any, bytes]]:
        """Number, time [ns], connection and data of each message with an image that is used."""
        connections = [c for c in bag.connections if c.topic == self.topic]
        others = sensors.begin(bag, self.path, self.topic) if sensors else []
        waiting: deque[tuple[int, int, Any, bytes]] = deque()  # for what is recorded later
        wait_ns = round(LOOKAHEAD_S * 1e9) if sensors else 0
        k = 0
        for connection, at_ns, raw in messages(bag, [*connections, *others]):
            while waiting and waiting[0][1] + wait_ns < at_ns:
                yield waiting.popleft()
            if connection.topic != self.topic:
                assert sensors is not None  # there are no other connections without them
                sensors.put(bag, connection, raw)
                continue
            if selection.uses(k, (at_ns - bag.start_time) * 1e-9):
                waiting.append((k, at_ns, connection, raw))
            k += 1
        yield from waiting

    def images(
        self,
        selection: Selection,
        rectification: str = 'auto',
        sensors: BagSensors | None = None,
    ) -> Iterator[Recorded]:
        """The images, each to be decoded by `Recorded.read`.

        Args:
            selection: which of them.
            rectification: the parameter.
            sensors: which is given all that was recorded before an image, and a little later.

        Raises:
            ImageError: the bag is damaged here.
            ConfigError: a sensor has no topic, or several.
        """
        bit_depth = BitDepth()
        with opened(self.path) as bag:
            infos = _Infos(bag, self.info_topic, *how_rectified(rectification, self.topic))
            used = self._used(bag, selection, sensors)
            for given, (k, at_ns, connection, raw) in enumerate(used):
                if given == selection.limit:
                    break
                recorded = self._recorded(self._name(k), bag, connection, raw, infos, bit_depth)
                yield replace(recorded, logged_ns=at_ns)

    def _recorded(
        self, name: str, bag: Any, connection: Any, raw: bytes, infos: _Infos, bit_depth: BitDepth
    ) -> Recorded:
        try:
            message = decoded(bag, connection, raw)
        except ImageError as error:
            return Recorded(name, partial(_fail, error), is_frame=True)
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

    def __init__(self, bag: Any, topic: str, rectified: bool | None, because: str) -> None:
        self._topic, self._rectified, self._because = topic, rectified, because
        self._by_stamp: dict[int, Any] = {}
        infos = [c for c in bag.connections if c.topic == topic]
        distinct: dict[object, Any] = {}
        with suppress(ImageError):  # the images before the damage have their cameras
            for connection, _, raw in messages(bag, infos):
                with suppress(ImageError):
                    message = decoded(bag, connection, raw)
                    stamp = message.header.stamp
                    # one of equal content is enough: an hour has 100 000
                    message = distinct.setdefault(_content(message), message)
                    self._by_stamp[nanoseconds(stamp)] = message
        self._stamps_ns = sorted(self._by_stamp)

    def of(self, header: Any) -> Any:
        """Finds the camera of the image with this header: (width, height) -> `Calibration`."""
        stamp_ns = nanoseconds(header.stamp)
        info = self._by_stamp.get(stamp_ns)
        if info is None and self._by_stamp:
            info = self._by_stamp[nearest(self._stamps_ns, stamp_ns)]

        def calibration(width: int, height: int) -> Calibration:
            if info is None:
                raise CameraError(
                    f'{self._topic} has no message that can be read; give the focal length by '
                    '--fx or --hfov'
                )
            return calibration_from(info, width, height, self._rectified, self._because)

        return calibration


def _content(info: Any) -> object:
    """What a camera_info says of the camera."""
    roi, matrices = info.roi, (info.d, info.k, info.p)
    return (
        info.width, info.height, info.distortion_model, *(tuple(m) for m in matrices),
        info.binning_x, info.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height,
    )  # fmt: skip


def _fail(error: ImageError) -> ImageFile:
    raise error


def _has_pictures(bag: Any, connection: Any) -> bool:
    """Whether a topic has colour or grey images, and no depth."""
    if 'depth' in connection.topic.lower().split('/')[-1] or not connection.msgcount:
        return False
    if connection.msgtype == COMPRESSED:
        return 'compressedDepth' not in connection.topic
    try:
        _, _, raw = next(messages(bag, [connection]))
        encoding = decoded(bag, connection, raw).encoding
    except ImageError:  # its images fail one by one
        return True
    names_depth = 'depth' in connection.topic.lower() or 'disparity' in connection.topic.lower()
    return encoding in ENCODINGS and not (names_depth and encoding == 'mono16')
