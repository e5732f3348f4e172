# SPDX-License-Identifier: Apache-2.0
"""What ROS messages mean, whether rclpy received them or a bag has them; needs no ROS."""
