# SPDX-License-Identifier: Apache-2.0
"""From views to batches: windows, mirrors, colours; the intrinsics follow, metres stay exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_ros.models.nano.network import FOCAL, MEAN, STD
from tools.train.views import Views

NEAREST = 0.8  #: least share of a picture's width that a window keeps


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step needs.

    Args:
        x: (B, 5, h, w) float32, the network's input.
        z: (B, h, w) float32 [m], +Inf where there is sky.
        log_zoom: (B,) log(f_c / f), what turns log Z into log Z_c.
    """

    x: Tensor
    z: Tensor
    log_zoom: Tensor


def batch(views: Views, size: tuple[int, int], generator: torch.Generator | None) -> Batch:
    """A batch of pictures of `size` (h, w).

    Args:
        views: on the device that trains.
        size: of the network's input; of the views' aspect.
        generator: of the augmentation, on the CPU; None takes whole pictures as they are.
    """
    device, n, (height, width) = views.rgb.device, len(views), views.z.shape[1:]
    h, w = size

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (torch.rand((n, *shape), generator=generator) * (high - low) + low).to(device)

    if generator is None:
        scale = torch.ones(n, device=device)
        left, top = torch.zeros_like(scale), torch.zeros_like(scale)
        flip = torch.zeros_like(scale, dtype=torch.bool)
    else:
        scale = uniform(NEAREST, 1.0)
        left, top = (uniform(0, 1) * (1 - scale) * side for side in (width, height))
        flip = uniform(0, 1) < 0.5
    # column i of the batch looks at column x(i) of the view, pixel centres at whole numbers
    step_x, step_y = scale * width / w, scale * height / h  # (B,) view pixels per batch pixel
    fx, fy, cx, cy = views.k.T
    fx, fy = fx / step_x, fy / step_y
    cx, cy = (cx + 0.5 - left) / step_x - 0.5, (cy + 0.5 - top) / step_y - 0.5
    u = torch.arange(w, device=device, dtype=torch.float32)
    v = torch.arange(h, device=device, dtype=torch.float32)
    columns = torch.where(flip[:, None], w - 1 - u, u)  # (B, w)
    cx = torch.where(flip, w - 1 - cx, cx)

    def grid_of(parts: int) -> Tensor:
        """(B, parts * h, parts * w, 2) where parts x parts points of each pixel look."""
        shift = (torch.arange(parts, device=device) + 0.5) / parts  # within a pixel
        shift_x = torch.where(flip[:, None], 1 - shift, shift)  # (B, parts)
        at_x = (columns[:, :, None] + shift_x[:, None]).flatten(1)  # (B, parts * w)
        at_y = (v[:, None] + shift).flatten()
        x = 2 * (left[:, None] + at_x * step_x[:, None]) / width - 1
        y = 2 * (top[:, None] + at_y * step_y[:, None]) / height - 1
        size = (n, len(at_y), at_x.shape[1])
        return torch.stack((x[:, None].expand(size), y[:, :, None].expand(size)), -1)

    grid = grid_of(1)
    rgb = views.rgb.float() / 255
    if generator is None and (h, w) != (height, width):
        rgb = F.interpolate(rgb, size=size, mode='area')
    elif width < 1.5 * w:
        rgb = F.grid_sample(rgb, grid, padding_mode='border', align_corners=False)
    else:  # as cameras and `resample.shrunk` average over a pixel, so that fine detail is no noise
        rgb = F.grid_sample(rgb, grid_of(2), padding_mode='border', align_corners=False)
        rgb = F.avg_pool2d(rgb, 2)
    # bilinear depth would invent surfaces between near and far ones
    z = F.grid_sample(
        views.z.float()[:, None], grid, mode='nearest', padding_mode='border', align_corners=False
    )[:, 0]
    if generator is not None:
        rgb = _coloured(rgb, uniform)
    slope_x = ((u - cx[:, None]) / FOCAL)[:, None, None].expand(-1, 1, h, -1)
    slope_y = ((v - cy[:, None]) / FOCAL)[:, None, :, None].expand(-1, 1, -1, w)
    inputs = torch.cat(((rgb - MEAN) / STD, slope_x, slope_y), 1)
    return Batch(inputs, z, torch.log(2 * FOCAL / (fx + fy)))


def _coloured(rgb: Tensor, uniform: Callable[..., Tensor]) -> Tensor:
    """Other exposure, contrast, colours and now and then grey; (B, 3, h, w) in 0..1."""
    gain = uniform(0.75, 1.3, 1, 1, 1) * uniform(0.9, 1.1, 3, 1, 1)
    gamma = uniform(0.75, 1.3, 1, 1, 1)
    rgb = (rgb * gain).clamp(1e-3, 1).pow(gamma)
    middle = rgb.mean((1, 2, 3), keepdim=True)
    rgb = middle + (rgb - middle) * uniform(0.75, 1.25, 1, 1, 1)
    grey = rgb.mean(1, keepdim=True)
    vivid = uniform(0.4, 1.4, 1, 1, 1) * (uniform(0, 1, 1, 1, 1) > 0.08)
    return (grey + (rgb - grey) * vivid).clamp(0, 1)
