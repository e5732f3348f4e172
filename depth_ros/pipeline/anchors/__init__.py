# SPDX-License-Identifier: Apache-2.0
"""What sensors and the camera's mounting tell about depth, as anchors of one image; no ROS."""
