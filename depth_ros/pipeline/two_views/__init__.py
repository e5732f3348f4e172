# SPDX-License-Identifier: Apache-2.0
"""Depth from two views in metres: a second camera, or an earlier frame."""
