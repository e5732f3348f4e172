# SPDX-License-Identifier: Apache-2.0
"""Points of sensor messages, and the anchors that AnchorSources makes of them."""

import math
import struct

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, PointField

from depth_ros.core.errors import CameraError, ImageError
from depth_ros.messages.sensors import cloud_points, depth_image_points, laser_points

POINTS = np.array([[1.5, -2.0, 3.0], [4.0, 5.0, 6.25]])


def cloud(
    points: np.ndarray,
    fields: tuple[tuple[str, int, int], ...] = (('x', 0, 7), ('y', 4, 7), ('z', 8, 7)),
    step: int = 12,
    *,
    height: int = 1,
    padding: int = 0,
    big: bool = False,
) -> PointCloud2:
    codes = {7: 'f', 8: 'd', 4: 'H', 5: 'i'}
    data = b''
    width = len(points) // height
    for row in points.reshape(height, width, 3):
        for point in row:
            record = bytearray(step)
            for (_, offset, code), value in zip(fields, point, strict=True):
                number = int(value) if code in (4, 5) else value
                struct.pack_into(('>' if big else '<') + codes[code], record, offset, number)
            data += bytes(record)
        data += bytes(padding)
    return PointCloud2(
        height=height,
        width=width,
        fields=[PointField(name=n, offset=o, datatype=d, count=1) for n, o, d in fields],
        is_bigendian=big,
        point_step=step,
        row_step=step * width + padding,
        data=data,
    )


@pytest.mark.parametrize(
    ('layout', 'words'),
    [
        ({}, {}),
        ({'step': 32}, {}),
        ({'fields': (('x', 5, 8), ('y', 20, 8), ('z', 33, 8)), 'step': 48}, {}),
        ({'fields': (('x', 8, 7), ('y', 4, 7), ('z', 0, 7))}, {}),
        ({}, {'height': 2, 'padding': 8}),
        ({}, {'big': True}),
    ],
    ids=['xyz', 'padded', 'doubles', 'other order', 'rows', 'big-endian'],
)
def test_a_cloud_is_read_whatever_its_layout(layout, words):
    np.testing.assert_array_equal(cloud_points(cloud(POINTS, **layout, **words)), POINTS)


def test_an_empty_cloud_has_no_points():
    assert cloud_points(PointCloud2(fields=cloud(POINTS).fields)).shape == (0, 3)


def test_a_cloud_that_cannot_be_read_is_named():
    message = cloud(POINTS)
    message.fields = message.fields[:2]
    with pytest.raises(ImageError, match=r'a cloud without z \(fields: x, y\)'):
        cloud_points(message)
    message = cloud(POINTS)
    message.data = message.data[:-1]
    with pytest.raises(ImageError, match='are 23 bytes but 2x1 points of 12 bytes'):
        cloud_points(message)
    message = cloud(POINTS)
    message.point_step = 8
    with pytest.raises(ImageError, match='fix the publisher'):
        cloud_points(message)


def test_a_scan_is_read_without_what_is_no_measurement():
    scan = LaserScan(
        angle_min=0.0, angle_increment=math.pi / 2, range_min=0.2, range_max=10.0,
        ranges=[2.0, 3.0, math.inf, 0.1, 11.0, math.nan],
    )  # fmt: skip
    np.testing.assert_allclose(laser_points(scan), [[2, 0, 0], [0, 3, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ('encoding', 'dtype', 'values', 'big'),
    [
        ('16UC1', '<u2', [[1500, 0]], 0),
        ('16UC1', '>u2', [[1500, 0]], 1),
        ('32FC1', '<f4', [[1.5, math.nan]], 0),
        ('64FC1', '<f8', [[1.5, 0.0]], 0),
    ],
)
def test_a_depth_image_is_read_in_metres(encoding, dtype, values, big):
    data = np.array(values, dtype).tobytes()
    image = Image(
        height=1, width=2, encoding=encoding, is_bigendian=big, step=len(data), data=data
    )
    k = [10.0, 0.0, 0.5, 0.0, 10.0, 0.0, 0.0, 0.0, 1.0]
    p = [10.0, 0.0, 0.5, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info = CameraInfo(height=1, width=2, k=k, p=p)
    np.testing.assert_allclose(depth_image_points(image, info), [[-0.075, 0, 1.5]], atol=1e-7)
    with pytest.raises(CameraError):
        depth_image_points(image, CameraInfo())
    image.encoding = 'rgb8'
    with pytest.raises(ImageError, match=r"'rgb8'; it must be 16UC1"):
        depth_image_points(image, info)
