# SPDX-License-Identifier: Apache-2.0
"""Arrays for the ray caster: the solids of several scenes, and rays in tiles of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from depth_ros.sim.world.primitives import KINDS
from depth_ros.sim.world.scene import Scene

TILE = 16  #: side of a tile [px]
GROUND = 'ground'  #: key of the ground among the kinds of solids


@dataclass(frozen=True, slots=True)
class Batch:
    """The solids of several scenes, one after another.

    Args:
        solids: for each kind, (fields, P) float64.
        image: for each kind, (P,) index of the image of a solid.
        first: for each kind and the ground, its first index among all solids.
        materials: (materials.ROWS, all solids) float32; the last B are the grounds.
        ground: (B,) float64, heights [m].
        casts_shadow: for each kind, indices of the solids that cast shadows.
    """

    solids: dict[str, Tensor]
    image: dict[str, Tensor]
    first: dict[str, int]
    materials: Tensor
    ground: Tensor
    casts_shadow: dict[str, Tensor]

    @staticmethod
    def of(scenes: Sequence[Scene]) -> Batch:
        """A batch of one image for each scene."""
        device = scenes[0].device
        solids, image, first, count = {}, {}, {}, 0
        for kind in KINDS:
            rows = [s.solids[kind] for s in scenes]
            solids[kind] = torch.cat(rows, 1)
            counts = torch.tensor([r.shape[1] for r in rows])
            image[kind] = torch.repeat_interleave(torch.arange(len(scenes)), counts).to(device)
            first[kind] = count
            count += solids[kind].shape[1]
        first[GROUND] = count
        materials = torch.cat([s.materials[k] for k in (*KINDS, GROUND) for s in scenes], 1)
        ground = torch.tensor([s.ground for s in scenes], dtype=torch.float64, device=device)
        casts_shadow = {
            k: torch.cat([s.casts_shadow[k] for s in scenes]).nonzero()[:, 0] for k in KINDS
        }
        return Batch(solids, image, first, materials, ground, casts_shadow)


@dataclass(frozen=True, slots=True)
class Rays:
    """Rays of B images in tiles; their z component is 1, so that the ray parameter is Z.

    Args:
        origin: (B, 3) float64 [m].
        rotation: (B, 3, 3) float64, R_world_camera.
        x: (B, T, S) float64, x of the rays at Z = 1 in the optical frame; T tiles of S pixels.
        y: (B, T, S) float64, likewise y.
        grid: rows and columns of tiles.
        size: height and width of the images.
    """

    origin: Tensor
    rotation: Tensor
    x: Tensor
    y: Tensor
    grid: tuple[int, int]
    size: tuple[int, int]

    @staticmethod
    def of(x: Tensor, y: Tensor, poses: Tensor) -> Rays:
        """From rays x and y, (B, H, W), and T_world_camera, (B, 4, 4)."""
        size = (x.shape[1], x.shape[2])
        grid = (-(-size[0] // TILE), -(-size[1] // TILE))
        pad = (0, grid[1] * TILE - size[1], 0, grid[0] * TILE - size[0])
        tiled = [
            F.pad(a[:, None], pad, mode='replicate')
            .reshape(len(a), grid[0], TILE, grid[1], TILE)
            .permute(0, 1, 3, 2, 4)
            .reshape(len(a), -1, TILE * TILE)
            for a in (x, y)
        ]
        return Rays(poses[:, :3, 3], poses[:, :3, :3], tiled[0], tiled[1], grid, size)

    def directions(self) -> list[Tensor]:
        """Ray directions in the world frame, three (B, T, S) float64."""
        r = self.rotation[:, :, :, None, None]
        return [r[:, i, 0] * self.x + r[:, i, 1] * self.y + r[:, i, 2] for i in range(3)]

    def to_images(self, values: Tensor) -> Tensor:
        """Rearrange tiles (..., B * T, S) to images (..., B, H, W)."""
        lead, b = values.shape[:-2], len(self.origin)
        v = values.reshape(-1, b, *self.grid, TILE, TILE).transpose(3, 4)
        v = v.reshape(-1, b, self.grid[0] * TILE, self.grid[1] * TILE)
        return v[:, :, : self.size[0], : self.size[1]].reshape(*lead, b, *self.size)
