# SPDX-License-Identifier: Apache-2.0
"""A bag with the depth of the images of another, and with its messages; needs no ROS."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from depth_ros.core import encode
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import DepthMap
from depth_ros.messages.camera_info import fields_of
from depth_ros.offline.bag import Bag
from depth_ros.offline.bag_reader import INFO, messages, opened
from depth_ros.offline.files import cloud_of
from depth_ros.offline.folder import part_of, replace_folder
from depth_ros.offline.recorded import Recorded
from depth_ros.parameters.settings import Settings

CLOUD, IMAGE = 'sensor_msgs/msg/PointCloud2', 'sensor_msgs/msg/Image'
#: topic -> type, as depth_node has them without a namespace
TOPICS = {'/depth/image': IMAGE, '/depth/camera_info': INFO, '/points': CLOUD}


class BagOutput:
    """Writes one bag, under another name until it is whole.

    The outputs have the stamps and the frame_id of their images, and the time of recording of
    these. The messages of the source are copied as they are, if wanted.

    Args:
        path: of the new bag, a folder.
        source: the bag whose images are processed.
        settings: filters and colours of the cloud.
        copy: also the messages of the source.

    Raises:
        ConfigError: the source has a topic of ours, or cannot be copied.
    """

    def __init__(self, path: Path, source: Bag, settings: Settings, *, copy: bool) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore

        with opened(source.path) as bag:
            taken = sorted({c.topic for c in bag.connections} & set(TOPICS)) if copy else []
            is_mcap = any(p.suffix == '.mcap' for p in (source.path, *_files(source.path)))
            if taken:
                raise ConfigError(
                    f'{source.path} has a topic {taken[0]}, too: write depth alone with --no-copy'
                )
            if copy and not bag.is2:
                raise ConfigError(
                    f'{source.path} is a bag of ROS 1, whose messages are not copied to one of '
                    'ROS 2: write depth alone with --no-copy'
                )
        self.path, self.source, self.settings, self._copies = path, source, settings, copy
        # the library names the file in it as its folder, so this has its name already
        self._part = part_of(path) / path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._store: Any = get_typestore(Stores.ROS2_HUMBLE)
        storage = StoragePlugin.MCAP if is_mcap else StoragePlugin.SQLITE3
        self._writer: Any = Writer(self._part, version=8, storage_plugin=storage)
        self._writer.open()
        self._topics = {
            topic: self._writer.add_connection(topic, kind, typestore=self._store)
            for topic, kind in TOPICS.items()
        }

    def add(self, depth: DepthMap, recorded: Recorded) -> None:
        """Write the outputs of an image."""
        header = self._header(recorded)
        height, width = depth.z.shape
        encoding = self.settings.depth_encoding
        z = encode.millimetres(depth.z) if encoding == '16UC1' else depth.z
        pixels = np.ascontiguousarray(z.cpu().numpy())
        messages = {
            '/depth/image': self._new(
                IMAGE, header=header, height=height, width=width, encoding=encoding,
                is_bigendian=0, step=pixels.itemsize * width, data=pixels.view(np.uint8).ravel(),
            ),
            '/depth/camera_info': self._camera_info(header, depth.camera),
            '/points': self._cloud(header, depth),
        }  # fmt: skip
        for topic, message in messages.items():
            data = self._store.serialize_cdr(message, TOPICS[topic])
            self._writer.write(self._topics[topic], recorded.logged_ns, data)

    def close(self, *, whole: bool) -> None:
        """Copy what is wanted of the source, and end the bag; without `whole` it is removed."""
        try:
            if whole and self._copies:
                self._copy()
            self._writer.close()
        except BaseException:
            shutil.rmtree(self._part.parent, ignore_errors=True)
            raise
        if whole:
            replace_folder(self._part, self.path)
        shutil.rmtree(self._part.parent, ignore_errors=True)

    def _copy(self) -> None:
        with opened(self.source.path) as bag:
            made = {}
            for c in bag.connections:
                known = c.msgdef.data and c.digest
                described = (
                    {'msgdef': c.msgdef.data, 'rihs01': c.digest}
                    if known
                    else {'typestore': bag.typestore}
                )
                made[c.id] = self._writer.add_connection(
                    c.topic, c.msgtype, **described,
                    offered_qos_profiles=c.ext.offered_qos_profiles,
                )  # fmt: skip
            for c, at_ns, raw in messages(bag, bag.connections):
                self._writer.write(made[c.id], at_ns, raw)

    def _new(self, kind: str, **fields: Any) -> Any:
        return self._store.types[kind](**fields)

    def _header(self, recorded: Recorded) -> Any:
        seconds, nanoseconds = divmod(recorded.stamp_ns, 10**9)
        stamp = self._new('builtin_interfaces/msg/Time', sec=seconds, nanosec=nanoseconds)
        frame_id = self.settings.frame_id or recorded.frame_id
        return self._new('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)

    def _camera_info(self, header: Any, camera: Camera) -> Any:
        roi = self._new(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
        )  # fmt: skip
        described = {
            name: np.array(value) if isinstance(value, list) else value
            for name, value in fields_of(camera).items()
        }
        return self._new(INFO, header=header, binning_x=0, binning_y=0, roi=roi, **described)

    def _cloud(self, header: Any, depth: DepthMap) -> Any:
        points = self.settings.points
        cloud = cloud_of(depth, points, points.stride).cpu().numpy()
        names = ('x', 'y', 'z', 'rgb') if points.color else ('x', 'y', 'z')
        fields = [
            self._new('sensor_msgs/msg/PointField', name=n, offset=4 * k, datatype=7, count=1)
            for k, n in enumerate(names)
        ]
        return self._new(
            CLOUD, header=header, height=1, width=len(cloud), fields=fields, is_bigendian=False,
            point_step=encode.POINT_STEP, row_step=encode.POINT_STEP * len(cloud),
            data=_bytes(cloud), is_dense=True,
        )  # fmt: skip


def _bytes(values: Any) -> Any:
    return np.ascontiguousarray(values, np.float32).view(np.uint8).ravel()


def _files(path: Path) -> list[Path]:
    return [*path.iterdir()] if path.is_dir() else []
