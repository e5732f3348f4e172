# SPDX-License-Identifier: Apache-2.0
"""Metric depth from one camera. The core imports no ROS; `depth_ros.ros` is the node."""

__version__ = '0.1.0'
