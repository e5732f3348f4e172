# SPDX-License-Identifier: Apache-2.0
"""Depth of what was recorded: pictures, videos and bags in, files and videos out; no ROS."""
