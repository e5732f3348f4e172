# SPDX-License-Identifier: Apache-2.0
"""Augmented batches: random crops, flips and colours; intrinsics follow, depth stays metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from depth_ros.models.nano.network import FOCAL, MEAN, STD
from tools.train.samples import Samples

MIN_CROP = 0.8  #: minimum size of a crop, as a fraction of the image


@dataclass(frozen=True, slots=True)
class Batch:
    """Input and target of a training step.

    Args:
        x: (B, 5, h, w) float32, input of the network.
        z: (B, h, w) float32 [m], +Inf for sky.
        log_focal_ratio: (B,) log(f_c / f); added to log Z it gives log Z_c.
    """

    x: Tensor
    z: Tensor
    log_focal_ratio: Tensor


def make_batch(
    samples: Samples, size: tuple[int, int], generator: torch.Generator | None
) -> Batch:
    """Crop, resize and augment samples to a batch.

    Args:
        samples: on the device of the training.
        size: (h, w) of the network input; if its aspect is another, images are cropped to it.
        generator: random numbers of the augmentation, on the CPU; None disables it.
    """
    device, n, (height, width) = samples.rgb.device, len(samples), samples.z.shape[1:]
    h, w = size
    # the largest crop of the aspect of `size`, as fractions of width and height
    whole = min(1.0, w * height / (h * width)), min(1.0, h * width / (w * height))

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (torch.rand((n, *shape), generator=generator) * (high - low) + low).to(device)

    if generator is None:
        crop = torch.ones(n, device=device)
        left, top = (torch.full_like(crop, (1 - f) / 2) for f in whole)
        flip = torch.zeros_like(crop, dtype=torch.bool)
    else:
        crop = uniform(MIN_CROP, 1.0)
        left, top = (uniform(0, 1) * (1 - crop * f) for f in whole)
        flip = uniform(0, 1) < 0.5
    left, top = left * width, top * height
    # column i of the batch shows column x(i) of the sample; integers are pixel centres
    step_x, step_y = crop * whole[0] * width / w, crop * whole[1] * height / h  # (B,) sample px
    fx, fy, cx, cy = samples.k.T
    fx, fy = fx / step_x, fy / step_y
    cx, cy = (cx + 0.5 - left) / step_x - 0.5, (cy + 0.5 - top) / step_y - 0.5
    u = torch.arange(w, device=device, dtype=torch.float32)
    v = torch.arange(h, device=device, dtype=torch.float32)
    columns = torch.where(flip[:, None], w - 1 - u, u)  # (B, w)
    cx = torch.where(flip, w - 1 - cx, cx)

    def grid_of(parts: int) -> Tensor:
        """Sampling grid (B, parts * h, parts * w, 2) with parts x parts points for each pixel."""
        shift = (torch.arange(parts, device=device) + 0.5) / parts  # within a pixel
        shift_x = torch.where(flip[:, None], 1 - shift, shift)  # (B, parts)
        at_x = (columns[:, :, None] + shift_x[:, None]).flatten(1)  # (B, parts * w)
        at_y = (v[:, None] + shift).flatten()
        x = 2 * (left[:, None] + at_x * step_x[:, None]) / width - 1
        y = 2 * (top[:, None] + at_y * step_y[:, None]) / height - 1
        size = (n, len(at_y), at_x.shape[1])
        return torch.stack((x[:, None].expand(size), y[:, :, None].expand(size)), -1)

    grid = grid_of(1)
    rgb = samples.rgb.float() / 255
    if generator is None and whole == (1.0, 1.0) and (h, w) != (height, width):
        rgb = F.interpolate(rgb, size=size, mode='area')
    elif width < 1.5 * w:
        rgb = F.grid_sample(rgb, grid, padding_mode='border', align_corners=False)
    else:  # average over the pixel, as cameras and `resample.downscale` do, to prevent aliasing
        rgb = F.grid_sample(rgb, grid_of(2), padding_mode='border', align_corners=False)
        rgb = F.avg_pool2d(rgb, 2)
    # bilinear interpolation would create depth between near and far surfaces
    z = F.grid_sample(
        samples.z.float()[:, None],
        grid,
        mode='nearest',
        padding_mode='border',
        align_corners=False,
    )[:, 0]
    if generator is not None:
        rgb = _jitter_colours(rgb, uniform)
    slope_x = ((u - cx[:, None]) / FOCAL)[:, None, None].expand(-1, 1, h, -1)
    slope_y = ((v - cy[:, None]) / FOCAL)[:, None, :, None].expand(-1, 1, -1, w)
    inputs = torch.cat(((rgb - MEAN) / STD, slope_x, slope_y), 1)
    return Batch(inputs, z, torch.log(2 * FOCAL / (fx + fy)))


def _jitter_colours(rgb: Tensor, uniform: Callable[..., Tensor]) -> Tensor:
    """Vary exposure, contrast and colours, sometimes to grey; (B, 3, h, w) in 0..1."""
    gain = uniform(0.75, 1.3, 1, 1, 1) * uniform(0.9, 1.1, 3, 1, 1)
    gamma = uniform(0.75, 1.3, 1, 1, 1)
    rgb = (rgb * gain).clamp(1e-3, 1).pow(gamma)
    middle = rgb.mean((1, 2, 3), keepdim=True)
    rgb = middle + (rgb - middle) * uniform(0.75, 1.25, 1, 1, 1)
    grey = rgb.mean(1, keepdim=True)
    vivid = uniform(0.4, 1.4, 1, 1, 1) * (uniform(0, 1, 1, 1, 1) > 0.08)
    return (grey + (rgb - grey) * vivid).clamp(0, 1)
