# SPDX-License-Identifier: Apache-2.0
"""The networks that can learn from a recording.

| module         | networks                                                            |
|----------------|---------------------------------------------------------------------|
| nano           | `nano`                                                              |
| monodepth2     | all presets of Monodepth2, and its pose network                     |
| depth_anything | those of Depth Anything 1, 2 and 3 but version 1 metric             |
| low_rank       | how large networks learn                                            |
"""

from __future__ import annotations

from pathlib import Path

import torch

from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Kind
from depth_ros.models import PRESETS, ModelOptions, Preset
from depth_ros.models.presets import get
from depth_ros.offline.adapt.student import Motion, Student
from depth_ros.offline.adapt.students.depth_anything import DepthAnythingStudent
from depth_ros.offline.adapt.students.monodepth2 import Monodepth2Motion, Monodepth2Student
from depth_ros.offline.adapt.students.nano import NanoStudent


def can_learn(preset: Preset) -> bool:
    """Whether `student_of` takes a preset."""
    with_bins = preset.variant.startswith('v1_metric')  # another head
    return preset.family in ('nano', 'monodepth2', 'depth_anything') and not with_bins


def check_can_learn(name: str) -> None:
    """Refuse a preset that cannot learn, before its weights are looked for.

    Raises:
        ConfigError: it cannot, or there is none of that name.
    """
    if not can_learn(get(name)):
        able = ', '.join(preset.name for preset in PRESETS.values() if can_learn(preset))
        raise ConfigError(f'{name} cannot learn from a recording; networks that can: {able}')


def student_of(name: str, options: ModelOptions) -> Student:
    """A network with its weights, ready to learn.

    Args:
        name: of the preset.
        options: weights, device, input size, largest depth; the dtype is fp32.

    Raises:
        ConfigError: the preset cannot learn, or does not take these options.
        WeightsError: the weights are missing, damaged or of another network.
    """
    check_can_learn(name)
    family = PRESETS[name].family
    if family == 'nano':
        return NanoStudent(options)
    if family == 'monodepth2':
        return Monodepth2Student(name, options)
    return DepthAnythingStudent(name, options)


def motion_of(name: str, weights: Path, device: torch.device) -> Motion:
    """The pose network that was trained with a network, for recordings without poses.

    Args:
        name: of the preset.
        weights: of the depth network, or a file of `Motion.state`.
        device: of the network.

    Raises:
        ConfigError: the preset has none.
        WeightsError: it is not with these weights.
    """
    if get(name).family != 'monodepth2':
        raise ConfigError(
            f'{name} has no pose network: record poses (TF or odometry), or take a preset of '
            'Monodepth2 that was trained with sequences (mono, mono+stereo)'
        )
    return Monodepth2Motion(name, weights, device)


def scale_of(name: str) -> float | None:
    """The parameter `scaling.scale` for weights that learnt metres; None if it needs none."""
    without_metres = PRESETS[name].kind in (Kind.SCALE_INVARIANT, Kind.AFFINE_INVERSE)
    return 1.0 if without_metres else None
