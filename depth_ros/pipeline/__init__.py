# SPDX-License-Identifier: Apache-2.0
"""From a frame and the settings to depth in metres."""
