# SPDX-License-Identifier: Apache-2.0
"""The layers: a small RegNet of timm, and a small decoder for CPUs.

B batch, h x w input [px]; lengths are those of the canonical camera.
"""

from __future__ import annotations

import math
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.core.camera import Camera

SIDE = 96  # default longer side of the input of a 4:3 image [px]; trained with 96 to 160
MIN_SIDE = 32  # of the input [px], where the coarsest map is one pixel
STEP = 8  # both sides of the input are multiples of this [px]
FOCAL = 160.0  # canonical focal length f_c [px] of the input, for every input size
BACKBONE = 'regnetx_002'
WIDTHS = (160, 112, 72, 48, 32)  # channels of the decoder, coarse to fine
SKY_LOGIT = 4.0  # above it is sky; high, as a wall taken for sky is worse than the reverse
MEAN, STD = 0.45, 0.25  # of all channels of the image in 0..1
INITIAL_LOG_Z = 1.2  # logarithm of a typical canonical depth, where training starts


def input_size(height: int, width: int, side: int = SIDE) -> tuple[int, int]:
    """(h, w) of the input for an image of height x width, multiples of `STEP`.

    All aspects have the area of 4:3, so that a wide image is not seen with less detail.

    Args:
        height: of the image [px].
        width: of the image [px].
        side: longer side of the input of a 4:3 image [px].
    """
    scale = side * math.sqrt(0.75 / (height * width))
    h, w = (max(MIN_SIDE, round(n * scale / STEP) * STEP) for n in (height, width))
    return h, w


def slopes(camera: Camera, device: torch.device | str = 'cpu') -> Tensor:
    """Ray slopes of the pixels in the canonical camera: (u - cx) / f_c, (v - cy) / f_c, (2, h, w).

    They depend on the principal point, but not on the focal length. So twice the focal length
    gives exactly twice the depth for the same image, and the network cannot hide wrong intrinsics.
    """
    u = (torch.arange(camera.width, device=device, dtype=torch.float32) - camera.cx) / FOCAL
    v = (torch.arange(camera.height, device=device, dtype=torch.float32) - camera.cy) / FOCAL
    return torch.stack((u.expand(camera.height, -1), v[:, None].expand(-1, camera.width)))


def _norm(width: int, kernel: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
    )


class Block(nn.Module):
    """Residual block: a 5 x 5 depthwise convolution, then a 1 x 1 convolution.

    Args:
        width: channels of input and output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = _norm(width, 5, width)
        self.mix = _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, a, b) -> the same shape."""
        return F.relu(x + self.mix(F.relu(self.spatial(x))))


class Context(nn.Module):
    """Add a projection of the mean over the image to the coarsest map.

    The scale is often visible in one part of the image only; the mean carries it to the others.

    Args:
        width_in: channels of the input.
        width: channels of the output.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(width_in, width, 1)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.whole = nn.Sequential(nn.Linear(width_in, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, a, b) -> (B, width, a, b)."""
        whole = self.whole(x.mean((2, 3)))  # (B, width)
        y: Tensor = self.blocks(F.relu(self.project(x) + whole[:, :, None, None]))
        return y


class Up(nn.Module):
    """Upsample a map by two and add the encoder's map of that size.

    Args:
        coarse: channels of the map to upsample.
        skip: channels of the map of the encoder.
        width: channels of the output.
        blocks: number of residual blocks.
    """

    def __init__(self, coarse: int, skip: int, width: int, blocks: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(coarse, width, 1)
        self.skip = nn.Conv2d(skip, width, 1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, coarse, ~a/2, ~b/2), (B, skip, a, b) -> (B, width, a, b)."""
        y = self.coarse(x)  # before upsampling, for a quarter of the operations
        y = F.interpolate(y, size=skip.shape[2:], mode='bilinear', align_corners=False)
        mixed: Tensor = self.blocks(F.relu(y + self.skip(skip)))
        return mixed


class Nano(nn.Module):
    """Canonical depth and sky from an image and the ray slopes of its pixels."""

    def __init__(self) -> None:
        super().__init__()
        # timm has no types
        with torch.device('cpu'):  # timm 1.0.16 to 1.0.29 computes widths with torch: not on meta
            encoder: Any = timm.create_model(
                BACKBONE, pretrained=False, features_only=True, in_chans=5
            )
        self.encoder = encoder
        widths = encoder.feature_info.channels()  # fine to coarse, strides 2 to 32
        self.context = Context(widths[-1], WIDTHS[0])
        self.ups = nn.ModuleList(
            Up(coarse, skip, width, 2 if k < 2 else 1)
            for k, (coarse, skip, width) in enumerate(
                zip(WIDTHS[:-1], widths[-2::-1], WIDTHS[1:], strict=True)
            )
        )
        self.head = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 2, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict canonical depth and sky.

        Args:
            x: (B, 5, h, w), RGB normalised with `MEAN` and `STD`, and `slopes`.

        Returns:
            (B, h, w) float32 logarithm of Z_c [m]; (B, h, w) float32 logit of sky.
        """
        *skips, y = self.encoder(x)
        y = self.context(y)  # (B, 160, h/32, w/32)
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            y = up(y, skip)
        y = self.head(y).float()  # (B, 2, h/2, w/2)
        y = F.interpolate(y, size=x.shape[2:], mode='bilinear', align_corners=False)
        return y[:, 0] + INITIAL_LOG_Z, y[:, 1]
