# SPDX-License-Identifier: Apache-2.0
"""Parameters of the sources of anchors: pixels of known depth, from which metres follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from depth_ros.parameters.declare import BAG, setting

SOURCES = ('points', 'scan', 'range', 'depth', 'height', 'odometry')


def _pose(source: str, frame: str = 'frame of the sensor') -> Any:
    return setting(
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        f'Pose x y z [m] qx qy qz qw of the {frame} in the optical frame of the camera. Zeros: '
        'from TF.',
        'tf2_ros is not installed, or TF does not connect the two frames.',
        needs=BAG,
        only_with=('anchors.sources', source),
    )


def _sigma(source: str, default: float) -> Any:
    return setting(
        default,
        'Standard deviation of a distance, calibration included [m].',
        'The sensor is more or less accurate, or several sources are to be weighted.',
        low=1e-4,
        high=100.0,
        needs=BAG,
        only_with=('anchors.sources', source),
    )


@dataclass(frozen=True, slots=True)
class PointsSource:
    """PointCloud2 of a LiDAR, radar or other sensor, on anchors/points."""

    pose: list[float] = _pose('points')
    sigma: float = _sigma('points', 0.05)


@dataclass(frozen=True, slots=True)
class ScanSource:
    """LaserScan of a planar LiDAR, on anchors/scan."""

    pose: list[float] = _pose('scan')
    sigma: float = _sigma('scan', 0.05)


@dataclass(frozen=True, slots=True)
class RangeSource:
    """Range of one beam, ultrasonic or infrared, on anchors/range."""

    pose: list[float] = _pose('range')
    sigma: float = _sigma('range', 0.05)


@dataclass(frozen=True, slots=True)
class DepthSource:
    """Depth image of another sensor, on anchors/depth with anchors/depth/camera_info."""

    pose: list[float] = _pose('depth', 'optical frame of the sensor')
    sigma: float = _sigma('depth', 0.05)


@dataclass(frozen=True, slots=True)
class OdometrySource:
    """The motion of the camera, from odom."""

    camera_pose: list[float] = setting(
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        'Pose x y z [m] qx qy qz qw of the optical frame in the child frame of odom. Zeros: from '
        'TF.',
        'tf2_ros is not installed, or TF does not connect the camera with that frame.',
        needs=BAG,
        only_with=('anchors.sources', 'odometry'),
    )


@dataclass(frozen=True, slots=True)
class AnchorSettings:
    """Where metres come from besides the network."""

    sources: list[str] = setting(
        [''],
        'Sources of anchors, pixels of known depth to which the depth of the network is fitted. '
        'points: PointCloud2 on anchors/points. scan: LaserScan on anchors/scan. range: Range on '
        'anchors/range. depth: depth image on anchors/depth. height: the floor, see floor.height. '
        "odometry: tracked corners and odom. '': none.",
        'The robot has a sensor that measures distances, or the height of the camera is known.',
        choices=('', *SOURCES),
        needs=BAG,
        only_with=('scaling.method', 'auto', 'anchors'),
    )
    max_offset: float = setting(
        0.1,
        'Maximum difference between the stamps of a measurement and of the image [s].',
        'A sensor is slow, or its stamps are late, and the robot is slow too.',
        low=0.0,
        high=10.0,
        needs=BAG,
        only_with=('anchors.sources', *SOURCES),
    )
    points: PointsSource = field(default_factory=PointsSource)
    scan: ScanSource = field(default_factory=ScanSource)
    range: RangeSource = field(default_factory=RangeSource)
    depth: DepthSource = field(default_factory=DepthSource)
    odometry: OdometrySource = field(default_factory=OdometrySource)
