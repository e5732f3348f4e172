# SPDX-License-Identifier: Apache-2.0
"""Made for the people who develop depth_ros; not installed: benchmark, trainer, demo, docs."""
