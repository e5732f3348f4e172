# SPDX-License-Identifier: Apache-2.0
"""The node: the only place that imports rclpy and messages."""

from depth_ros.ros.heap import keep_freed_memory

keep_freed_memory()  # here, because it must come before numpy and torch
