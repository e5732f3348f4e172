# SPDX-License-Identifier: Apache-2.0
"""The layers: timm's ViT-L on 35 overlapping tiles of three scales, and a decoder.

Layer names are ours; `checkpoint` translates the published ones. B batch, N tiles. A tile of
384 px has 24 x 24 patches.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.models.depth_anything.network import ResidualUnit

SIDE, TILE, PATCH = 1536, 384, 16  # [px]
GRID = TILE // PATCH
TILES = 25 + 9 + 1  # of the image at full, half and quarter size
WIDTH, FEATURES = 1024, 256
TAPS = (5, 11)  # blocks (0-based) of the tile encoder whose tokens are used, as are the last
#: Five maps, fine to coarse: (channels, doublings); two from `TAPS`, then one for each scale.
LEVELS = ((256, 3), (256, 2), (512, 1), (1024, 1), (1024, 1))


def split(x: Tensor, stride: int) -> Tensor:
    """(B, C, s, s) -> overlapping tiles (n*n*B, C, 384, 384), row by row, the batch last."""
    tiles = x.unfold(2, TILE, stride).unfold(3, TILE, stride)  # (B, C, n, n, 384, 384)
    return tiles.permute(2, 3, 0, 1, 4, 5).flatten(0, 2)


def merge(tiles: Tensor, n: int, margin: int) -> Tensor:
    """(n*n*B, C, 24, 24) -> (B, C, m, m): join tiles, cropped by `margin` where they overlap."""
    grid = tiles.reshape(n, n, -1, *tiles.shape[1:])  # (n, n, B, C, 24, 24)
    keep = [slice(margin if i else 0, GRID - margin if i < n - 1 else GRID) for i in range(n)]
    rows = [
        torch.cat([grid[i, j][..., keep[i], keep[j]] for j in range(n)], dim=3) for i in range(n)
    ]
    return torch.cat(rows, dim=2)


def _vit() -> Any:  # timm has no types
    return timm.create_model(
        'vit_large_patch14_dinov2',
        pretrained=False,
        num_classes=0,
        img_size=TILE,
        patch_size=PATCH,
        init_values=1e-5,
    )


def _as_map(tokens: Tensor) -> Tensor:
    """(N, 1 + 24*24, C) with the class token first -> (N, C, 24, 24)."""
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, GRID, GRID)


def _upsampler(channels: int, doublings: int) -> nn.Sequential:
    deconvs = (
        nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False) for _ in range(doublings)
    )
    return nn.Sequential(nn.Conv2d(WIDTH, channels, 1, bias=False), *deconvs)


class Encoder(nn.Module):
    """One ViT-L for all tiles, another for the whole image; their maps in five sizes.

    Attributes:
        tiles_per_batch: tiles in one batch; the result does not depend on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch_encoder = _vit()
        self.image_encoder = _vit()
        self.upsamplers = nn.ModuleList(_upsampler(*level) for level in LEVELS)
        self.upsample_image = nn.ConvTranspose2d(WIDTH, WIDTH, 2, stride=2)
        self.fuse = nn.Conv2d(2 * WIDTH, WIDTH, 1)
        self.tiles_per_batch = TILES

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, 1536, 1536) -> five maps (B, c, s, s), with s from 768 to 48."""
        b, half, quarter = len(x), _downscale(x, 2), _downscale(x, 4)
        tiles = torch.cat((split(x, 288), split(half, 192), quarter))  # (35 B, 3, 384, 384)
        batches = [self._tokens(batch) for batch in torch.split(tiles, self.tiles_per_batch)]
        early, middle, last = (torch.cat(part) for part in zip(*batches, strict=True))
        maps = [
            merge(early[: 25 * b], 5, 3),  # (B, 1024, 96, 96)
            merge(middle[: 25 * b], 5, 3),
            merge(last[: 25 * b], 5, 3),
            merge(last[25 * b : 34 * b], 3, 6),  # (B, 1024, 48, 48)
        ]
        finer = [up(m) for up, m in zip(self.upsamplers, maps, strict=False)]
        return [*finer, self._fuse(last[34 * b :], quarter)]

    def coarsest(self, x: Tensor) -> Tensor:
        """Only the coarsest of the five maps, (B, 1024, 48, 48); runs a ViT-L 2 times, not 36."""
        quarter = _downscale(x, 4)
        return self._fuse(self._tokens(quarter)[2], quarter)

    def _tokens(self, tiles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, 384, 384) -> (N, 1024, 24, 24) of both `TAPS`, and the normalised last one."""
        last, (early, middle) = self.patch_encoder.forward_intermediates(tiles, indices=[*TAPS])
        return early, middle, _as_map(last)

    def _fuse(self, last: Tensor, quarter: Tensor) -> Tensor:
        """Fuse the maps of both encoders for the whole image -> (B, 1024, 48, 48)."""
        image = self.upsample_image(_as_map(self.image_encoder.forward_features(quarter)))
        fused: Tensor = self.fuse(torch.cat((self.upsamplers[4](last), image), dim=1))
        return fused


def _downscale(x: Tensor, times: int) -> Tensor:
    size = (SIDE // times, SIDE // times)
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)


class Fusion(nn.Module):
    """Add a finer map to the path from the coarser maps, and double the size of the sum.

    Args:
        lateral: there is a map to add; false for the coarsest level.
        doubles: double the size; false for the finest level.
    """

    def __init__(self, *, lateral: bool, doubles: bool) -> None:
        super().__init__()
        self.lateral = ResidualUnit(FEATURES) if lateral else None
        self.unit = ResidualUnit(FEATURES)
        deconv = nn.ConvTranspose2d(FEATURES, FEATURES, 2, stride=2, bias=False)
        self.deconv = deconv if doubles else nn.Identity()
        self.out = nn.Conv2d(FEATURES, FEATURES, 1)

    def forward(self, x: Tensor, lateral: Tensor | None) -> Tensor:
        """Path (B, 256, s, s) and map of the same shape -> (B, 256, 2s, 2s), finest level s."""
        if self.lateral is not None and lateral is not None:
            x += self.lateral(lateral)  # in place: a copy of the finest map takes 600 MB
        fused: Tensor = self.out(self.deconv(self.unit(x)))
        return fused


class Decoder(nn.Module):
    """Fuse five maps, from coarse to fine, into one."""

    def __init__(self) -> None:
        super().__init__()
        convs = (nn.Conv2d(c, FEATURES, 3, padding=1, bias=False) for c, _ in LEVELS[1:])
        self.laterals = nn.ModuleList([nn.Identity(), *convs])  # the finest has 256 channels
        self.fusions = nn.ModuleList(Fusion(lateral=i < 4, doubles=i > 0) for i in range(5))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Empties the list `maps`, to free memory early -> (B, 256, 768, 768)."""
        x: Tensor = self.fusions[4](self.laterals[4](maps.pop()), None)
        for i in (3, 2, 1, 0):
            x = self.fusions[i](x, self.laterals[i](maps.pop()))
        return x


class FieldOfView(nn.Module):
    """A third ViT-L that estimates the horizontal field of view; not needed if K is known."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _vit()
        self.project = nn.Linear(WIDTH, 128)
        self.downsample = nn.Conv2d(FEATURES, 128, 3, stride=2, padding=1)
        self.head = nn.Sequential(
            nn.Conv2d(128, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 6),
        )

    def forward(self, quarter: Tensor, coarsest: Tensor) -> Tensor:
        """Image (B, 3, 384, 384), coarsest map of the decoder (B, 256, 48, 48) -> (B,) [deg]."""
        tokens = self.project(self.encoder.forward_features(quarter))  # (B, 577, 128)
        x = _as_map(tokens) + F.relu(self.downsample(coarsest))  # (B, 128, 24, 24)
        fov: Tensor = self.head(x)  # (B, 1, 1, 1)
        return fov.flatten()


class DepthPro(nn.Module):
    """Canonical inverse depth, and optionally the field of view.

    Args:
        fov: add the 304 million weights that estimate the field of view.

    Source: Bochkovskii et al. 2024, arXiv 2410.02073.
    """

    def __init__(self, *, fov: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.head = nn.Sequential(
            nn.Conv2d(FEATURES, 128, 3, padding=1),
            nn.ConvTranspose2d(128, 128, 2, stride=2),
            nn.Conv2d(128, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )
        self.fov = FieldOfView() if fov else None

    def forward(self, x: Tensor) -> Tensor:
        """Inverse depth [1/m] for a camera whose focal length is the width of its image.

        Args:
            x: (B, 3, 1536, 1536) normalised RGB.

        Returns:
            (B, 1536, 1536) float32; 0 is infinitely far.
        """
        x = self.decoder(self.encoder(x))
        for layer in self.head:  # layer by layer, to free the first map early
            x = layer(x)
        return x[:, 0].float()

    def fov_deg(self, x: Tensor) -> Tensor:
        """Horizontal field of view [deg], (B,) float32; takes a twelfth of the time of `forward`.

        Args:
            x: (B, 3, 1536, 1536) normalised RGB.
        """
        assert self.fov is not None, 'built without the field of view'
        coarsest = self.decoder.laterals[4](self.encoder.coarsest(x))
        fov: Tensor = self.fov(_downscale(x, 4), coarsest)
        return fov.float()
