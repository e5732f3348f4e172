# SPDX-License-Identifier: Apache-2.0
"""The layers: a small RegNet of timm's, and a decoder light enough for a CPU.

B batch, h x w input [px]; every length is that of the canonical camera.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.core.camera import Camera

SIDE = 96  # long side of its usual input [px]; it was trained at 96 to 160
STEP = 8  # both sides of the input are multiples of this [px]
FOCAL = 160.0  # f_c, the canonical focal length in pixels of the input, whatever its size
BACKBONE = 'regnetx_002'
WIDTHS = (160, 112, 72, 48, 32)  # channels of the decoder, coarse to fine
SKY_LOGIT = 4.0  # taken for sky above; a wall taken for sky is worse than sky taken for far away
MEAN, STD = 0.45, 0.25  # of the pictures' bytes / 255, all channels
USUAL_LOG_Z = 1.2  # where training starts: the logarithm of a usual canonical depth


def slopes(camera: Camera, device: torch.device | str = 'cpu') -> Tensor:
    """Where pixels look in the canonical camera, (u - cx) / f_c and (v - cy) / f_c, (2, h, w).

    They tell the network where in the picture it is, not which lens took it: only the principal
    point is in them. So a lens twice as long means, for the same picture, twice the depth exactly,
    and wrong intrinsics cannot be quietly made up for.
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
    """A 5 x 5 depthwise convolution and a mixing of channels, added to what came in."""

    def __init__(self, width: int) -> None:
        """`width` channels in and out."""
        super().__init__()
        self.spatial = _norm(width, 5, width)
        self.mix = _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, a, b) -> the same shape."""
        return F.relu(x + self.mix(F.relu(self.spatial(x))))


class Context(nn.Module):
    """The coarsest map, with what the picture as a whole is like added everywhere.

    How large things are is often known from one part of a picture only; its average carries that
    to the others.
    """

    def __init__(self, width_in: int, width: int) -> None:
        """From `width_in` to `width` channels."""
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
    """Doubles a map and adds the encoder's of that size."""

    def __init__(self, coarse: int, skip: int, width: int, blocks: int) -> None:
        """Channels of what is doubled, of the encoder's map, and of the result."""
        super().__init__()
        self.coarse = nn.Conv2d(coarse, width, 1)
        self.skip = nn.Conv2d(skip, width, 1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, coarse, ~a/2, ~b/2), (B, skip, a, b) -> (B, width, a, b)."""
        y = self.coarse(x)  # before it grows: a quarter of the work
        y = F.interpolate(y, size=skip.shape[2:], mode='bilinear', align_corners=False)
        mixed: Tensor = self.blocks(F.relu(y + self.skip(skip)))
        return mixed


class Nano(nn.Module):
    """Canonical depth and sky from a picture and the slopes of its pixels."""

    def __init__(self) -> None:
        """Build with random weights."""
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
        """Depth and sky.

        Args:
            x: (B, 5, h, w), red, green and blue normalised with `MEAN` and `STD`, and `slopes`.

        Returns:
            (B, h, w) float32 logarithm of Z_c [m]; (B, h, w) float32 logit of sky.
        """
        *skips, y = self.encoder(x)
        y = self.context(y)  # (B, 160, h/32, w/32)
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            y = up(y, skip)
        y = self.head(y).float()  # (B, 2, h/2, w/2)
        y = F.interpolate(y, size=x.shape[2:], mode='bilinear', align_corners=False)
        return y[:, 0] + USUAL_LOG_Z, y[:, 1]
