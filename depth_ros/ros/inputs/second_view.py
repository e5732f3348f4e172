# SPDX-License-Identifier: Apache-2.0
"""The second view: a second camera (stereo), or an earlier frame and odometry (motion)."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depth_ros.core.errors import ConfigError, ScaleError
from depth_ros.core.types import DepthMap, Frame
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.depth_pipeline import Pipeline, Snapshot
from depth_ros.pipeline.two_views.poses import Pose4x4
from depth_ros.pipeline.two_views.views import EarlierFrame, SecondCamera
from depth_ros.ros.inputs.newest import LatestImage
from depth_ros.ros.inputs.odometry import CameraPoses
from depth_ros.ros.inputs.pairs import LatestPair
from depth_ros.ros.inputs.subscription import Input
from depth_ros.ros.inputs.tf import Transforms
from depth_ros.ros.statistics import Counters


class Stereo:
    """Pairs of `image` and `image_2`; the distance of the cameras is a parameter or from TF.

    Args:
        node: owner of the subscriptions.
        pipeline: of a network that takes pairs.
        settings: all parameters.

    Raises:
        ConfigError: the distance is too small for a scale, or neither given nor available.
    """

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, settings: Settings) -> None:
        self.settings = settings.two_views
        distance, least = self.settings.baseline, self.settings.min_baseline
        if 0 < distance < least:
            raise ConfigError(
                f'two_views.baseline is {distance:g} m but two_views.min_baseline is {least:g}: '
                'no pair could give a scale'
            )
        self.views = SecondCamera(pipeline, self.settings)
        self._transforms: Transforms | None = None
        if not distance:
            instead = 'two_views.baseline to the distance of the cameras [m]'
            self._transforms = Transforms(node, instead)
        self._slot: LatestPair | None = None

    def slot(self, counters: Counters) -> LatestPair:
        """A new slot, from which the worker takes."""
        self._slot = LatestPair(counters, self.settings.max_offset)
        return self._slot

    def inputs(self, node: LifecycleNode, settings: Settings) -> list[Input]:
        """Subscribe; the image first."""
        compressed = settings.image_transport == 'compressed'
        kind, topic = (CompressedImage, 'image_2/compressed') if compressed else (Image, 'image_2')
        slot = self._slot
        assert slot is not None  # `Stream.start` makes it first
        return [
            Input(
                node, kind, topic, lambda m: slot.put_image(m, 1), 1, settings.image_reliability
            ),
            Input(node, CameraInfo, 'camera_info_2', lambda m: slot.put_info(m, 1), 10, once=True),
        ]

    def why_silent(self) -> str:
        """Why images arrive but no pairs; '' if they do."""
        return self._slot.why_none() if self._slot else ''

    def __call__(self, frames: list[Frame], snapshot: Snapshot) -> DepthMap:
        """Depth of the first of two frames [m].

        Raises:
            ScaleError: the metric scale is not known yet.
        """
        first, second = frames
        known: Pose4x4 | float = self.settings.baseline
        if self._transforms is not None:
            known = self._transforms.between(first.frame_id, second.frame_id)
        return self.views(first, second, known, snapshot)

    def close(self) -> None:
        """Unsubscribe from TF."""
        if self._transforms is not None:
            self._transforms.close()


class Motion:
    """Images of one camera that moves, and odometry.

    Args:
        node: owner of the subscriptions.
        pipeline: of a network that takes pairs.
        settings: all parameters.

    Raises:
        ConfigError: nav_msgs is not installed, or the pose of the camera on the robot is neither
            given nor available.
    """

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, settings: Settings) -> None:
        needed_by, parameter = "two_views.mode is 'motion'", 'two_views.camera_pose'
        pose = settings.two_views.camera_pose
        self._poses = CameraPoses(node, needed_by, parameter, pose)
        self.views = EarlierFrame(pipeline, settings.two_views)

    def slot(self, counters: Counters) -> LatestImage:
        """A new slot, from which the worker takes."""
        self._poses.start_again()
        return LatestImage(counters)

    def inputs(self, node: LifecycleNode, settings: Settings) -> list[Input]:
        """Subscribe to the odometry."""
        return [self._poses.input(node)]

    def why_silent(self) -> str:
        """Always '': its `Input` reports missing odometry."""
        return ''

    def __call__(self, frames: list[Frame], snapshot: Snapshot) -> DepthMap:
        """Depth of the one frame [m].

        Raises:
            ScaleError: the metric scale is not known yet.
        """
        (frame,) = frames
        try:
            T_odom_camera = self._poses.at(frame.stamp_ns, frame.frame_id)
        except ScaleError as error:
            return self.views(frame, None, snapshot, str(error))
        return self.views(frame, T_odom_camera, snapshot)

    def close(self) -> None:
        """Unsubscribe from TF."""
        self._poses.close()


def second_view_for(
    node: LifecycleNode, pipeline: Pipeline, settings: Settings
) -> Stereo | Motion | None:
    """The source of the second view by `two_views.mode`; None for one view.

    Raises:
        ConfigError: that source is not possible here.
    """
    kinds: dict[str, type[Stereo] | type[Motion]] = {'stereo': Stereo, 'motion': Motion}
    kind = kinds.get(settings.two_views.mode)
    return kind(node, pipeline, settings) if kind else None
