# SPDX-License-Identifier: Apache-2.0
"""Monodepth2 as a student, and its pose network for recordings without poses.

Neither sees intrinsics. So what they learn holds for the camera of the recording: for images of
the same field of view, whatever their number of pixels. Another focal length or another crop needs
another adaptation.

| trained with        | unit of depth and motion at first     | after learning with known poses   |
|---------------------|---------------------------------------|-----------------------------------|
| stereo, mono+stereo | metres, for the camera of KITTI       | metres                            |
| mono                | unknown                               | metres, so `scaling.scale` is 1   |
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.monodepth2 import MAX_DEPTH, METRES, MIN_DEPTH, depth
from depth_ros.models.monodepth2.checkpoint import published
from depth_ros.models.monodepth2.motion import load_motion
from depth_ros.models.monodepth2.motion import published as published_motion
from depth_ros.offline.adapt.students.low_rank import plain
from depth_ros.offline.adapt.warp import rotation


def unit_of(preset: str) -> float:
    """Metres of a unit of the network's depth and motion; 1 where that is not known."""
    return METRES if PRESETS[preset].kind is Kind.METRIC else 1.0


class Monodepth2Student:
    """All layers that the depth comes from learn, with the statistics of BatchNorm as they are.

    Args:
        preset: its name.
        options: weights, device.
    """

    batch = 4

    def __init__(self, preset: str, options: ModelOptions) -> None:
        self.preset = preset
        self._unit = unit_of(preset)
        model: Any = models.load(preset, dataclasses.replace(options, dtype=torch.float32))
        self._network: Any = model.network
        self.network: nn.Module = model.network
        self.network.requires_grad_(True)
        self._network.heads[1:].requires_grad_(False)  # of coarser maps, which are not used

    def size(self, camera: Camera) -> tuple[int, int]:
        """That of training, for every camera."""
        variant = self._network.variant
        return variant.height, variant.width

    def log_depth(self, rgb: Tensor, camera: Camera) -> Tensor:
        """See `Student`; the camera is not used."""
        sigmoid_disparity = self.network(rgb.contiguous(memory_format=torch.channels_last))
        return depth(sigmoid_disparity).log() + math.log(self._unit)

    @torch.no_grad()
    def rescale(self, factor: float, at: float) -> None:
        """See `Student`; its bounds are 0.1 to 100 units of the network."""
        change = self._logit(at * factor) - self._logit(at)
        self._network.heads[0].bias += change

    def _logit(self, z: float) -> float:
        """Input of the last sigmoid for a depth [m]."""
        least, most = self._unit * MIN_DEPTH, self._unit * MAX_DEPTH
        if not least < z < most:
            raise ConfigError(
                f'{self.preset} gives depth from {least:g} to {most:g} m, and the scene is at '
                f'{z:.3g} m: check the unit of the poses, or take a preset of another kind'
            )
        share = (1 / z - 1 / most) / (1 / least - 1 / most)
        return math.log(share / (1 - share))

    def state(self) -> dict[str, Tensor]:
        """See `Student`; one file of what encoder.pth and depth.pth hold."""
        return published(plain(self.network.state_dict()), self._network.variant)


class Monodepth2Motion:
    """The pose network of a preset, which learns with its `Monodepth2Student`.

    Args:
        preset: name of that of the depth network.
        weights: its encoder.pth, with pose_encoder.pth and pose.pth beside it; a zip of them; or a
            file of `state`.
        device: of the network.

    Raises:
        WeightsError: there is no pose network, as for networks trained with stereo pairs alone.
    """

    def __init__(self, preset: str, weights: Path, device: torch.device) -> None:
        self._unit = unit_of(preset)
        self._network: Any = load_motion(PRESETS[preset], weights).to(device)
        self.network: nn.Module = self._network
        self.network.requires_grad_(True)

    def motion(self, earlier: Tensor, later: Tensor) -> Tensor:
        """See `Motion`."""
        turn, offset = self.network(earlier, later)
        T = torch.eye(4, device=turn.device).repeat(len(turn), 1, 1)
        T[:, :3, :3] = rotation(turn)
        T[:, :3, 3] = self._unit * offset
        return T

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """See `Motion`; exact."""
        last = self._network.net[-1]
        last.weight[3:6] *= factor
        last.bias[3:6] *= factor

    def state(self) -> dict[str, Tensor]:
        """See `Motion`; the names differ from all those of `Monodepth2Student.state`."""
        return published_motion(plain(self.network.state_dict()))
