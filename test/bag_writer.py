# SPDX-License-Identifier: Apache-2.0
"""Writes small bags for tests, with the library rosbags."""

import numpy as np
import pytest


class Written:
    """A new mcap bag; a context manager.

    Args:
        path: of its folder.
        compressed: 'file', 'message' or 'storage'; of sqlite3 unless 'storage'.
    """

    def __init__(self, path, compressed=''):
        rosbags = pytest.importorskip('rosbags.rosbag2', reason='rosbags is not installed')
        from rosbags.typesys import Stores, get_typestore

        path.parent.mkdir(parents=True, exist_ok=True)
        self.store = get_typestore(Stores.ROS2_HUMBLE)
        plugins = rosbags.StoragePlugin
        storage = plugins.SQLITE3 if compressed in ('file', 'message') else plugins.MCAP
        self.writer = rosbags.Writer(path, version=8, storage_plugin=storage)
        if compressed:
            mode = rosbags.CompressionMode[compressed.upper()]
            self.writer.set_compression(mode, rosbags.CompressionFormat.ZSTD)
        self.topics = {}

    def __enter__(self):
        self.writer.open()
        return self

    def __exit__(self, *_):
        self.writer.close()

    def new(self, kind, **fields):
        return self.store.types[kind](**fields)

    def header(self, at_s, frame_id):
        sec, nanosec = divmod(round(at_s * 1e9), 10**9)
        stamp = self.new('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
        return self.new('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)

    def write(self, topic, message, at_s):
        kind = message.__msgtype__
        if topic not in self.topics:
            self.topics[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        data = self.store.serialize_cdr(message, kind)
        self.writer.write(self.topics[topic], round(at_s * 1e9), data)

    def damaged(self, topic, kind, at_s):
        """A message whose data are not those of its type."""
        if topic not in self.topics:
            self.topics[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        self.writer.write(self.topics[topic], round(at_s * 1e9), b'\0\1\0\0' + b'\xff' * 9)

    def image(self, topic, at_s, frame_id, rgb=None):
        """(H, W, 3) uint8; 64x48 grey if there is none."""
        rgb = np.full((48, 64, 3), 128, np.uint8) if rgb is None else np.ascontiguousarray(rgb)
        height, width = rgb.shape[:2]
        self.write(
            topic,
            self.new(
                'sensor_msgs/msg/Image', header=self.header(at_s, frame_id), height=height,
                width=width, encoding='rgb8', is_bigendian=0, step=3 * width, data=rgb.ravel(),
            ),
            at_s,
        )  # fmt: skip

    def depth(self, topic, at_s, frame_id, z):
        """(H, W) float32 [m], or uint16 [mm]."""
        z = np.ascontiguousarray(z)
        height, width = z.shape
        encoding = '16UC1' if z.dtype == np.uint16 else '32FC1'
        self.write(
            topic,
            self.new(
                'sensor_msgs/msg/Image', header=self.header(at_s, frame_id), height=height,
                width=width, encoding=encoding, is_bigendian=0, step=z.itemsize * width,
                data=z.view(np.uint8).ravel(),
            ),
            at_s,
        )  # fmt: skip

    def info(self, topic, at_s, frame_id, size=(64, 48), fx=50.0, d=(), model='plumb_bob'):
        width, height = size
        cx, cy = (width - 1) / 2, (height - 1) / 2
        roi = self.new(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
        )  # fmt: skip
        self.write(
            topic,
            self.new(
                'sensor_msgs/msg/CameraInfo', header=self.header(at_s, frame_id), height=height,
                width=width, distortion_model=model, d=np.array(d, np.float64),
                k=np.array([fx, 0, cx, 0, fx, cy, 0, 0, 1]), r=np.eye(3).ravel(),
                p=np.array([fx, 0, cx, 0, 0, fx, cy, 0, 0, 0, 1, 0]), binning_x=0, binning_y=0,
                roi=roi,
            ),
            at_s,
        )  # fmt: skip

    def cloud(self, topic, at_s, frame_id, xyz, recorded_s=None):
        """(N, 3) points [m]."""
        xyz = np.ascontiguousarray(xyz, np.float32)
        fields = [
            self.new('sensor_msgs/msg/PointField', name=n, offset=4 * k, datatype=7, count=1)
            for k, n in enumerate('xyz')
        ]
        self.write(
            topic,
            self.new(
                'sensor_msgs/msg/PointCloud2', header=self.header(at_s, frame_id), height=1,
                width=len(xyz), fields=fields, is_bigendian=False, point_step=12,
                row_step=12 * len(xyz), data=xyz.view(np.uint8).ravel(), is_dense=True,
            ),
            at_s if recorded_s is None else recorded_s,
        )  # fmt: skip

    def _pose(self, kinds, xyz, rotation):
        place, turn = kinds
        return (
            self.new(
                f'geometry_msgs/msg/{place}', **dict(zip('xyz', map(float, xyz), strict=True))
            ),
            self.new(
                f'geometry_msgs/msg/{turn}', **dict(zip('xyzw', map(float, rotation), strict=True))
            ),
        )

    def tf(self, parent, child, xyz=(0, 0, 0), rotation=(0, 0, 0, 1), at_s=1.0, static=False):
        translation, turn = self._pose(('Vector3', 'Quaternion'), xyz, rotation)
        transform = self.new(
            'geometry_msgs/msg/TransformStamped',
            header=self.header(at_s, parent),
            child_frame_id=child,
            transform=self.new(
                'geometry_msgs/msg/Transform', translation=translation, rotation=turn
            ),
        )
        message = self.new('tf2_msgs/msg/TFMessage', transforms=[transform])
        self.write('/tf_static' if static else '/tf', message, at_s)

    def odometry(self, topic, at_s, child, xyz, rotation=(0, 0, 0, 1)):
        position, turn = self._pose(('Point', 'Quaternion'), xyz, rotation)
        none = np.zeros(36)
        zero = self.new('geometry_msgs/msg/Vector3', x=0.0, y=0.0, z=0.0)
        self.write(
            topic,
            self.new(
                'nav_msgs/msg/Odometry', header=self.header(at_s, 'odom'), child_frame_id=child,
                pose=self.new(
                    'geometry_msgs/msg/PoseWithCovariance', covariance=none,
                    pose=self.new('geometry_msgs/msg/Pose', position=position, orientation=turn),
                ),
                twist=self.new(
                    'geometry_msgs/msg/TwistWithCovariance', covariance=none,
                    twist=self.new('geometry_msgs/msg/Twist', linear=zero, angular=zero),
                ),
            ),
            at_s,
        )  # fmt: skip


class WrittenRos1(Written):
    """A new bag of ROS 1."""

    def __init__(self, path):
        rosbags = pytest.importorskip('rosbags.rosbag1', reason='rosbags is not installed')
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        path.parent.mkdir(parents=True, exist_ok=True)
        self.store = get_typestore(Stores.ROS1_NOETIC)
        tf = 'geometry_msgs/TransformStamped[] transforms'
        self.store.register(get_types_from_msg(tf, 'tf2_msgs/msg/TFMessage'))
        self.writer = rosbags.Writer(path)
        self.topics = {}

    def new(self, kind, **fields):
        if kind == 'std_msgs/msg/Header':
            fields['seq'] = 0
        if kind == 'sensor_msgs/msg/CameraInfo':
            fields = {name.upper() if name in 'dkrp' else name: v for name, v in fields.items()}
        return super().new(kind, **fields)

    def write(self, topic, message, at_s):
        kind = message.__msgtype__
        if topic not in self.topics:
            self.topics[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        data = self.store.serialize_ros1(message, kind)
        self.writer.write(self.topics[topic], round(at_s * 1e9), data)
