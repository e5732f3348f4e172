# SPDX-License-Identifier: Apache-2.0
"""The node: the only place that imports rclpy and messages."""
