# SPDX-License-Identifier: Apache-2.0
"""The pose of the second view, published with the depth of two views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from geometry_msgs.msg import PoseWithCovarianceStamped

from depth_ros.core.rotations import quaternion_from_rotation
from depth_ros.core.types import DepthMap, Pose
from depth_ros.parameters.settings import Settings
from depth_ros.ros.outputs.demand import Demand
from depth_ros.ros.outputs.publishers import Outgoing, Outputs


class TwoViewOutputs(Outputs):
    """`Outputs`, and the pose of the second camera on `relative_pose`."""

    topics: ClassVar[dict[str, type]] = {
        **Outputs.topics,
        'relative_pose': PoseWithCovarianceStamped,
    }

    def _messages(
        self, depth: DepthMap, header: Any, demand: Demand, settings: Settings
    ) -> Iterator[Outgoing]:
        yield from super()._messages(depth, header, demand, settings)
        if depth.pose is not None and 'relative_pose' in demand.topics:
            yield Outgoing('relative_pose', pose_message(depth.pose, header))


def pose_message(pose: Pose, header: Any) -> PoseWithCovarianceStamped:
    """Position [m] and axes of the second optical frame in the first, which `header` names."""
    message = PoseWithCovarianceStamped(header=header)
    position, orientation = message.pose.pose.position, message.pose.pose.orientation
    position.x, position.y, position.z = map(float, pose.T_first_second[:3, 3])
    quaternion = quaternion_from_rotation(pose.T_first_second[:3, :3])
    orientation.x, orientation.y, orientation.z, orientation.w = map(float, quaternion)
    message.pose.covariance = pose.covariance.reshape(36)
    return message
