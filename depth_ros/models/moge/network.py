# SPDX-License-Identifier: Apache-2.0
"""The layers: a DINOv2 encoder, a pyramid of convolutions (neck), and one more for each output.

Layer names are ours; `checkpoint` translates the published ones. B batch, p x q patches of 14 px,
C width of the encoder. Level l of a pyramid has 2^l p rows and 2^l q columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.models.dinov2 import PATCH, WithDinov2
from depth_ros.models.moge.config import HEADS, LEVELS, SIZES, Config


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution of an image whose border repeats."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode='replicate')


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))).

    Args:
        features: channels.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = conv3(features, features)
        self.conv2 = conv3(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, ., .) -> the same shape."""
        y: Tensor = self.conv2(F.relu_(self.conv1(F.relu(x))))
        y += x
        return y


class Upsampling(nn.Module):
    """Double the size of a map.

    Args:
        inputs: channels.
        outputs: channels of the result.
        learnt: by a transposed convolution; otherwise bilinear.
    """

    def __init__(self, inputs: int, outputs: int, *, learnt: bool) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(inputs, outputs, 2, stride=2) if learnt else None
        self.conv = conv3(outputs if learnt else inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, a, b) -> (B, outputs, 2a, 2b)."""
        if self.deconv is not None:
            x = self.deconv(x)
        else:
            x = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
        y: Tensor = self.conv(x)
        return y


class Pyramid(nn.Module):
    """From coarse to fine, with an input at each level.

    Args:
        inputs: channels of the input at each level.
        widths: channels at each level.
        blocks: residual blocks at each level.
        outputs: channels of the output at the finest level; 0 for the maps of all levels.
    """

    def __init__(
        self, inputs: Sequence[int], widths: Sequence[int], blocks: Sequence[int], outputs: int = 0
    ) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(
            nn.Conv2d(n, width, 1) for n, width in zip(inputs, widths, strict=True)
        )
        self.units = nn.ModuleList(
            nn.Sequential(*(ResidualUnit(width) for _ in range(n)))
            for n, width in zip(blocks, widths, strict=True)
        )
        self.ups = nn.ModuleList(
            Upsampling(widths[k], widths[k + 1], learnt=k < LEVELS - 2) for k in range(LEVELS - 1)
        )
        self.output = nn.Conv2d(widths[-1], outputs, 1) if outputs else None

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, inputs[l], 2^l p, 2^l q) for each level -> maps of all levels, or the one output."""
        x: Tensor | None = None
        found = []
        for level, (enter, units) in enumerate(zip(self.inputs, self.units, strict=True)):
            y = enter(maps[level])
            x = units(y if x is None else y.add_(self.ups[level - 1](x)))
            found.append(x)
        return found if self.output is None else [self.output(found[-1])]


class MoGe(WithDinov2):
    """Encoder, neck and heads.

    Args:
        config: dimensions.
        normals: with the head for surface normals, if the network has one.

    Source: Wang et al. 2025, arXiv 2507.02546; encoder arXiv 2304.07193.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config, *, normals: bool = False) -> None:
        size = SIZES[config.size]
        super().__init__(size.encoder)
        c = size.width
        self._normals = normals
        self.register_buffer('mean', torch.empty(1, 3, 1, 1))
        self.register_buffer('std', torch.empty(1, 3, 1, 1))
        self.scale = nn.Sequential(
            nn.Linear(c, c), nn.ReLU(), nn.Linear(c, c), nn.ReLU(), nn.Linear(c, 1)
        )
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Build the layers between encoder and output; on the meta device if the encoder is.

        Args:
            config: dimensions, with the same encoder.
        """
        self.config = config
        c, widths = SIZES[config.size].width, config.widths
        with self.encoder.cls_token.device:
            self.projects = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in config.taps)
            # the coordinates of the pixels enter at each level
            self.neck = Pyramid((c + 2, *(2 for _ in widths[1:])), widths, config.neck)
            self.heads = nn.ModuleDict(
                {
                    name: Pyramid(widths, widths, blocks, HEADS[name])
                    for name, blocks in config.heads
                    if self._normals or name != 'normal'
                }
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Predict points, mask, scale and, with that head, normals, all before the activation.

        Args:
            x: (B, 5, 14 p, 14 q): RGB in 0..1, and two channels with the same value everywhere,
                half of the image's width and height over half of its diagonal.

        Returns:
            float32: points (B, 3, 16 p, 16 q), where the last channel is log z and the others are
            x / z and y / z; mask (B, 16 p, 16 q), positive where there are points; logarithm of
            the scale (B,) [m]; normals (B, 3, 16 p, 16 q) of any length.
        """
        features, token = self.encoded(x[:, :3])
        maps = self.neck(self.with_coordinates(features, x[:, 3:, :1, :1]))
        outputs = {name: head(maps)[0].float() for name, head in self.heads.items()}
        scale: Tensor = self.scale(token)[:, 0].float()
        found = outputs['points'], outputs['mask'][:, 0], scale
        return (*found, outputs['normal']) if 'normal' in outputs else found

    def encoded(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """RGB (B, 3, 14 p, 14 q) in 0..1 -> features (B, C, p, q), and the class token (B, C)."""
        x = (rgb - self.mean) / self.std
        grid = (x.shape[2] // PATCH, x.shape[3] // PATCH)
        taps = self.all_taps(x, self.config.taps)
        features = sum(
            project(tap[:, 1:].transpose(1, 2).reshape(len(tap), -1, *grid))
            for project, tap in zip(self.projects, taps, strict=True)
        )
        return features, taps[-1][:, 0]

    def with_coordinates(self, features: Tensor, half: Tensor) -> list[Tensor]:
        """Inputs of the neck.

        Args:
            features: (B, C, p, q).
            half: (B, 2, 1, 1), half of the width and of the height of the image.

        Returns:
            (B, C + 2, p, q), and (B, 2, 2^l p, 2^l q) for the levels after it.
        """
        p, q = features.shape[2:]
        maps = []
        for level in range(LEVELS):
            v, u = (_centres(n << level, features) for n in (p, q))
            grid = torch.stack(torch.meshgrid(u, v, indexing='xy'))  # (2, rows, columns)
            maps.append(half * grid)
        return [torch.cat((features, maps[0]), dim=1), *maps[1:]]


def _centres(n: int, like: Tensor) -> Tensor:
    """(n,) centres of n pixels that fill -1..1."""
    return torch.linspace(1 / n - 1, 1 - 1 / n, n, dtype=like.dtype, device=like.device)
