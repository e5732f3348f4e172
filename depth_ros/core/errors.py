# SPDX-License-Identifier: Apache-2.0
"""Errors a user can cause. Each message names the thing, its value and the remedy.

DepthRosError
 ├─ ConfigError    invalid parameter or preset, or a combination that cannot work
 ├─ WeightsError   checkpoint missing, damaged, or of another network
 ├─ ImageError     image or image message that cannot be read or written
 ├─ CameraError    invalid intrinsics, or of another size than the image
 ├─ InferenceError network output that is no depth map
 └─ ScaleError     metric scale not known yet
"""


class DepthRosError(Exception):
    """Base of all errors this package raises deliberately."""


class ConfigError(DepthRosError):
    """A parameter or preset is invalid, or a combination of them cannot work."""


class WeightsError(DepthRosError):
    """A checkpoint is missing, damaged, or belongs to another network."""


class ImageError(DepthRosError):
    """An image or image message cannot be read or written."""


class CameraError(DepthRosError):
    """Intrinsics are invalid, or do not belong to the image."""


class InferenceError(DepthRosError):
    """The output of a network is no depth map."""


class ScaleError(DepthRosError):
    """The metric scale is not known yet; later frames may provide it."""


def in_words(error: Exception) -> str:
    """For a log: our errors as they are, those of libraries with their type."""
    return str(error) if isinstance(error, DepthRosError) else f'{type(error).__name__}: {error}'


def first_line(error: Exception) -> str:
    """The first line of the message of any error, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
