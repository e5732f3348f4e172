# SPDX-License-Identifier: Apache-2.0
"""From depth of tiles to distances along the rays of a lens: aligned, then blended.

Bilinear interpolation is done in inverse depth, which is linear over a tile where a surface is
plane. Tiles are blended in it, too, with weights that fall to 0 at the edges of a tile, so that no
edge shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from depth_ros.core.types import Kind
from depth_ros.pipeline.wide.tables import Sampling, Tables

#: of the weight of a bilinear mean that valid pixels must have
VALID = 0.5
#: samples in which two tiles must both have depth, to be compared
FEWEST = 8


def aligned(depths: Sequence[Tensor], tables: Tables, kind: Kind) -> Tensor:
    """Factors with which neighbouring tiles agree where they overlap.

    A network sees each tile as an image, and its scale differs from image to image. For each pair
    of overlapping tiles the median ratio of distances is measured; the factors are the least
    squares solution of all of them. The tile along the optical axis keeps its scale: networks know
    such views best, and what looks up or down least. With `nano` in eight rendered rooms and
    streets of 190 degrees the mean relative error of distances was 0.41 without factors, 0.46 with
    those whose mean is 1, and 0.26 with these.

    Args:
        depths: (s, s) float32 of each tile, along its own axis; not finite where unknown.
        tables: of the lens.
        kind: of the network.

    Returns:
        (tiles,) float32. Tiles that nothing relates to the first keep their metres; of
        SCALE_INVARIANT networks they are NaN. Nothing waits for a GPU.
    """
    count = len(depths)
    logs = torch.stack(
        [_log_at(z, table.samples) for z, table in zip(depths, tables.tiles, strict=True)]
    )
    logs = logs - tables.log_cosine  # of distances; NaN outside of the tile
    first, second = tables.pairs
    difference = logs[first] - logs[second]
    known = torch.isfinite(difference)
    amount = known.sum(1).to(torch.float64)
    amount = torch.where(amount >= FEWEST, amount, 0.0)
    difference = torch.where(known, difference, torch.nan)
    middle = torch.nanmedian(difference, 1).values.to(torch.float64).nan_to_num(0.0)
    # each pair wants factor[first] - factor[second] = -middle
    laplacian = torch.zeros(count, count, dtype=torch.float64, device=amount.device)
    laplacian.index_put_((first, first), amount, accumulate=True)
    laplacian.index_put_((second, second), amount, accumulate=True)
    laplacian.index_put_((first, second), -amount, accumulate=True)
    laplacian.index_put_((second, first), -amount, accumulate=True)
    wanted = torch.zeros(count, dtype=torch.float64, device=amount.device)
    wanted.index_add_(0, first, -amount * middle)
    wanted.index_add_(0, second, amount * middle)
    # known up to one factor for all tiles that are related: those whose mean is 1 are taken first
    ridge = 1e-6 * torch.eye(count, dtype=torch.float64, device=amount.device)
    factors: Tensor = torch.linalg.solve_ex(laplacian + ridge, wanted[:, None])[0][:, 0]
    joined = (laplacian != 0) | torch.eye(count, dtype=torch.bool, device=amount.device)
    related = torch.linalg.matrix_power(joined.to(torch.float64), count)[0] > 0
    alone = torch.nan if kind is Kind.SCALE_INVARIANT else factors
    factors = torch.where(related, factors - factors[0], alone)
    return factors.exp().to(torch.float32)


def _log_at(z: Tensor, sampling: Sampling) -> Tensor:
    """(N,) logarithm of depth at some places of a tile; NaN where it is not known."""
    inverse, known = _inverse(z)
    at = sampling.maps(torch.stack((inverse, known)))[:, 0]  # (2, N)
    # all four pixels around: an edge of the known part would be half a value
    return torch.where(at[1] > 0.999, -at[0].log(), torch.nan)


def _inverse(z: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse depth, 0 where it is not finite, and 1 where it is."""
    known = torch.isfinite(z) & (z > 0)
    return torch.where(known, z, torch.inf).reciprocal(), known.to(z.dtype)


def blended(depths: Sequence[Tensor], factors: Tensor, tables: Tables) -> Tensor:
    """Distances along the rays of the lens.

    Args:
        depths: (s, s) float32 of each tile, along its own axis; +Inf for sky, NaN unknown.
        factors: (tiles,), of `aligned`.
        tables: of the lens.

    Returns:
        (H, W) float32, +Inf where tiles say sky; NaN where no tile knows, and where the lens has
        no image.
    """
    inverse, known, sky = (torch.zeros_like(tables.ray_z) for _ in range(3))
    for z, factor, table in zip(depths, factors, tables.tiles, strict=True):
        own, finite = _inverse(z * factor)
        at = table.place.maps(torch.stack((own, finite, (z == torch.inf).to(z.dtype))))
        valid = at[1] >= VALID
        weight = torch.where(valid, table.weight, 0.0)
        there = table.rows, table.columns
        # at[0] / at[1] is the mean of the valid pixels; the cosine makes distances of depth
        inverse[there] += weight * table.cosine * at[0] / at[1].clamp(min=VALID)
        known[there] += weight
        sky[there] += torch.where(at[2] >= VALID, table.weight, 0.0)
    ranges = torch.where(known > 0, known / inverse, torch.nan)
    return torch.where((sky > known) & (sky > 0), torch.inf, ranges)


def mean(maps: Sequence[Tensor], tables: Tables) -> Tensor:
    """Weighted mean of maps (s, s) float32 of the tiles in the pixels of the lens, (H, W)."""
    total, weights = torch.zeros_like(tables.ray_z), torch.zeros_like(tables.ray_z)
    for values, table in zip(maps, tables.tiles, strict=True):
        there = table.rows, table.columns
        total[there] += table.weight * table.place.maps(values[None])[0]
        weights[there] += table.weight
    return total / weights


def mean_direction(maps: Sequence[Tensor], tables: Tables) -> Tensor:
    """Unit vectors (s, s, 3) in the frames of the tiles, as those of the lens, (H, W, 3).

    NaN has no weight, and remains where no tile has anything else.
    """
    total = torch.zeros(3, *tables.ray_z.shape, device=tables.ray_z.device)
    for vectors, table in zip(maps, tables.tiles, strict=True):
        own = torch.nan_to_num(vectors) @ table.R_lens_tile.T
        at = table.place.maps(own.permute(2, 0, 1).contiguous())
        total[:, table.rows, table.columns] += table.weight * at
    return _unit(total)


def _unit(vectors: Tensor) -> Tensor:
    """(3, H, W) as (H, W, 3) of length 1; NaN for 0."""
    length = vectors.norm(dim=0)
    return torch.where(length > 1e-6, vectors / length, torch.nan).permute(1, 2, 0)


def resampled_direction(vectors: Tensor, sampling: Sampling) -> Tensor:
    """Unit vectors (H, W, 3) at other pixels, (h, w, 3)."""
    return _unit(sampling.maps(torch.nan_to_num(vectors).permute(2, 0, 1).contiguous()))


def resampled(ranges: Tensor, sampling: Sampling) -> Tensor:
    """Distances at other pixels, (h, w), interpolated as in `blended`."""
    inverse, known = _inverse(ranges)
    at = sampling.maps(torch.stack((inverse, known, (ranges == torch.inf).to(ranges.dtype))))
    values = torch.where(at[1] >= VALID, at[1] / at[0], torch.nan)
    return torch.where(at[2] > VALID, torch.inf, values)
