# SPDX-License-Identifier: Apache-2.0
"""Depth Anything as a student: adapters of low rank in its encoder, and the end of its head.

The encoder has what the network knows of the world; adapters change each of its layers in a few
directions only. The last layers, which turn features into depth, are small and learn in full:
metres, and the shift of inverse depth, are theirs. The large middle of the head stays as it is.

| output of the preset              | taken for   | after learning with known poses        |
|-----------------------------------|-------------|----------------------------------------|
| Z [m], also canonical             | the same    | the same                               |
| Z times an unknown factor         | Z [m]       | Z [m], so `scaling.scale` is 1         |
| inverse depth, up to scale, shift | 1 / Z [1/m] | the same: `scaling.scale` 1, `shift` 0 |
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from depth_ros import models
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.depth_anything import CANONICAL_FOCAL, MEAN, STD
from depth_ros.models.depth_anything.checkpoint import published
from depth_ros.offline.adapt.students.low_rank import RANK, adapt_linears, merged_state

ADAPTED = ('qkv', 'proj', 'fc1', 'fc2')  #: layers of the encoder with adapters
NEAREST_M, FARTHEST_M = 1e-3, 1e3  #: bounds of depth, beyond which there are no gradients


class DepthAnythingStudent:
    """A network in fp32, for one view; see the table above.

    Args:
        preset: its name, of any kind but version 1 metric.
        options: weights, device, input size.
        rank: of the adapters.
    """

    batch = 2  # ViT-S takes 1.2 GB for each image of 518 x 686

    def __init__(self, preset: str, options: ModelOptions, rank: int = RANK) -> None:
        self.preset = preset
        options = dataclasses.replace(
            options,
            dtype=torch.float32,
            exportable=True,  # with layers that have gradients
            views=PRESETS[
                preset
            ].max_views,  # with those for several views, which stay in the file
        )
        model: Any = models.load(preset, options)
        self._model = model
        self._network = model.network
        self.network: nn.Module = model.network
        adapt_linears(self._network.encoder.blocks, ADAPTED, rank)
        self._network.head.neck.requires_grad_(True)
        self._network.head.depth.requires_grad_(True)
        self._kind = PRESETS[preset].kind
        self._mean, self._std = (
            torch.tensor(values, device=options.device).view(3, 1, 1) for values in (MEAN, STD)
        )

    def size(self, camera: Camera) -> tuple[int, int]:
        """As the model takes it."""
        found: tuple[int, int] = self._model.network_size(*camera.size)
        return found

    def log_depth(self, rgb: Tensor, camera: Camera) -> Tensor:
        """See `Student`; only canonical presets use the camera."""
        x = ((rgb - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        values: Tensor = self.network(x)[0]
        if self._kind is Kind.AFFINE_INVERSE:
            return -values.clamp(1 / FARTHEST_M, 1 / NEAREST_M).log()
        log_z: Tensor = values.clamp(NEAREST_M, FARTHEST_M).log()
        if self._kind is Kind.CANONICAL:
            log_z = log_z + math.log((camera.fx + camera.fy) / 2 / CANONICAL_FOCAL)
        return log_z

    @torch.no_grad()
    def rescale(self, factor: float, at: float) -> None:
        """See `Student`; only metric presets of version 2 have a bound, their largest depth."""
        last = self._network.head.depth[-1]
        if self._kind is Kind.AFFINE_INVERSE:
            last.weight /= factor
            last.bias /= factor
        elif most := self._network.variant.max_depth:
            shares = [z / most for z in (at, at * factor)]
            if not all(0 < share < 1 for share in shares):
                raise ConfigError(
                    f'{self.preset} gives depth up to {most:g} m, and the scene is at '
                    f'{most * max(shares):.3g} m: check the unit of the poses, or take a preset '
                    'of larger depth'
                )
            before, after = (math.log(share / (1 - share)) for share in shares)
            last.bias[0] += after - before
        else:  # the logarithm of depth; any-view also has one of confidence
            last.bias[0] += math.log(factor)

    def state(self) -> dict[str, Tensor]:
        """See `Student`; the adapters are merged into the weights."""
        return published(merged_state(self.network), self._network.variant)
