# SPDX-License-Identifier: Apache-2.0
"""The network that learns, with its weights at the start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from depth_ros import models
from depth_ros.checkpoints.find import find_weights
from depth_ros.models import ModelOptions, Preset
from depth_ros.offline.adapt.examine import Examined
from depth_ros.offline.adapt.student import Motion, Student
from depth_ros.offline.adapt.students import check_can_learn, motion_of, scale_of, student_of
from depth_ros.pipeline.device import choose_device


@dataclass(frozen=True, slots=True)
class Network:
    """What learns.

    Args:
        preset: of it.
        options: with the weights at the start.
        weights: name of these, in words.
    """

    preset: Preset
    options: ModelOptions
    weights: str

    @classmethod
    def of(
        cls,
        model: str,
        weights: str = '',
        device: str = 'auto',
        input_size: int = 0,
        *,
        accept_licence: bool = False,
    ) -> Network:
        """A network and its weights, which are downloaded if need be.

        Args:
            model: name of the preset.
            weights: file, folder or hub id; '' for the published ones.
            device: auto, cpu or cuda:N.
            input_size: as the parameter; 0 for that of the preset.
            accept_licence: the user accepts one that restricts use.

        Raises:
            ConfigError: it cannot learn.
            WeightsError: the weights are missing.
        """
        check_can_learn(model)
        preset = models.get(model)
        chosen = choose_device(device, preset, weights)
        source = models.source_of(preset, weights, '')
        path = find_weights(weights, source, accept_licence)
        packaged = path is not None and path == source.packaged
        name = f'{preset.name} ({"packaged" if packaged else weights or "published"})'
        options = ModelOptions(
            weights=path,
            device=chosen,
            threads=torch.get_num_threads(),  # all cores, or OMP_NUM_THREADS
            input_size=input_size,
        )
        return cls(preset, options, name)

    @property
    def scale(self) -> float | None:
        """For `scaling.scale`, once it has learnt metres; None if it has metres before."""
        return scale_of(self.preset.name)

    def student(self, examined: Examined | None = None) -> Student:
        """With the weights at the start.

        Args:
            examined: by which depth without metres is scaled.
        """
        student = student_of(self.preset.name, self.options)
        if examined is not None:
            self.scale_to(student, examined)
        return student

    def scale_to(self, student: Student, examined: Examined) -> None:
        """Scale depth without metres by the motion of the recording."""
        if examined.fit is not None and self.scale is not None:
            student.rescale(examined.fit.factor, examined.depth_m / examined.fit.factor)

    def motion(self) -> Motion:
        """Its pose network."""
        assert self.options.weights is not None  # every network that learns has weights
        return motion_of(self.preset.name, self.options.weights, self.options.device)

    def adapted(self, path: Path) -> Student:
        """With the weights of a file."""
        return student_of(self.preset.name, replace(self.options, weights=path))
