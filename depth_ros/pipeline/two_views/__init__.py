# SPDX-License-Identifier: Apache-2.0
"""Metric depth from two views: a second camera, or an earlier frame of a moving camera."""
