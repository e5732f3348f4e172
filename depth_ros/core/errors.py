# SPDX-License-Identifier: Apache-2.0
"""Errors a user can cause. Each message names the thing, its value and the remedy.

DepthRosError
 ├─ ConfigError    a parameter, preset or combination of them that cannot work
 ├─ WeightsError   a checkpoint that is missing, broken, or of another network
 ├─ ImageError     an image message that cannot be read
 ├─ CameraError    intrinsics that cannot be used
 ├─ InferenceError a network that returned something that is not depth
 └─ ScaleError     depth whose metres nobody knows yet
"""


class DepthRosError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigError(DepthRosError):
    """A parameter, preset or combination of them that cannot work."""


class WeightsError(DepthRosError):
    """A checkpoint that is missing, broken, or of another network."""


class ImageError(DepthRosError):
    """An image message that cannot be read."""


class CameraError(DepthRosError):
    """Intrinsics that cannot be used."""


class InferenceError(DepthRosError):
    """A network that returned something that is not depth."""


class ScaleError(DepthRosError):
    """Depth whose metres nobody knows yet: waiting may help, publishing would mislead."""
