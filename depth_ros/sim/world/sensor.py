# SPDX-License-Identifier: Apache-2.0
"""Model of a camera's sensor: exposure, colour cast, vignetting, blur, noise, compression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

GREY = 0.2  #: geometric mean that the exposure aims at, linear


def develop(light: Tensor, seeds: Sequence[int] | None, frames: Sequence[int]) -> Tensor:
    """Convert light to the bytes of an image.

    Args:
        light: (B, 3, H, W) float32, linear.
        seeds: of the camera of each image; None applies exposure only.
        frames: number of each image in a video, which changes only the noise.

    Returns:
        (B, H, W, 3) uint8, sRGB.
    """
    device = light.device
    # the geometric mean is hardly affected by a bright sky or lamp
    level = light.mean(1).flatten(1).clamp(min=1e-3).log().mean(1).exp()
    image = light * (GREY / level)[:, None, None, None]
    if seeds is None:
        return _bytes(_curve(image))
    effects = [_Effects.of(seed) for seed in seeds]
    values = torch.tensor([effect.values for effect in effects], device=device)  # (B, 8)
    exposure, red, blue, falloff, blur, grain, read, vivid = values.T
    scale = torch.stack((red, torch.ones_like(red), blue), 1) * exposure[:, None]
    h, w = light.shape[2:]
    y = torch.linspace(-1, 1, h, device=device)[:, None] * (h / w)
    x = torch.linspace(-1, 1, w, device=device)
    dim = 1 - falloff[:, None, None] * ((x * x + y * y) / (1 + (h / w) ** 2))
    image = _blur(image * scale[:, :, None, None] * dim[:, None], blur)
    grey = image.mean(1, keepdim=True)
    image = grey + (image - grey) * vivid[:, None, None, None]
    image = _curve(image + _noise(image, grain, read, seeds, frames))
    return _bytes(_compress(image, [effect.quality for effect in effects]))


def _bytes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class _Effects:
    """Random effects of one camera."""

    def __init__(self, values: list[float], quality: int) -> None:
        self.values, self.quality = values, quality

    @staticmethod
    def of(seed: int) -> _Effects:
        rng = Random(seed * 7 + 3)
        noisy = rng.random() < 0.3
        return _Effects(
            [
                math.exp(rng.gauss(0.0, 0.38)),
                math.exp(rng.gauss(0.0, 0.08)),
                math.exp(rng.gauss(0.0, 0.1)),
                rng.uniform(0.0, 0.45),
                rng.choice((0.0, 0.35, 0.5, 0.7, 1.0)),
                rng.uniform(0.01, 0.06) if noisy else rng.uniform(0.0, 0.012),
                rng.uniform(0.001, 0.012) if noisy else rng.uniform(0.0, 0.002),
                # saturation; robots often have grey cameras
                0.0 if rng.random() < 0.08 else rng.uniform(0.6, 1.2),
            ],
            rng.choice((100, 95, 90, 80, 65, 45)),
        )


def _curve(image: Tensor) -> Tensor:
    """Linear to sRGB with a shoulder, so that highlights do not clip."""
    image = 1 - torch.exp(-1.35 * image.clamp(min=0))
    image = image.clamp_(max=1).pow_(1 / 2.2)
    return image + 0.35 * image * (1 - image) * (2 * image - 1)


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each image with its own `sigma` (B,) [px]."""
    steps = torch.arange(3, device=image.device, dtype=torch.float32)
    kernel = torch.exp(-(steps**2) / (2 * sigma[:, None].clamp(min=0.05) ** 2))
    kernel = kernel / (2 * kernel.sum(1, keepdim=True) - 1)
    # sums of shifted images; a depthwise convolution is five times as slow on a CPU
    for axis, pad in ((2, (0, 0, 2, 2)), (3, (2, 2, 0, 0))):
        n = image.shape[axis]
        wide = F.pad(image, pad, mode='replicate')
        weights = kernel.T[:, :, None, None, None]
        image = wide.narrow(axis, 2, n) * weights[0]
        for k in (1, 2):
            both = wide.narrow(axis, 2 - k, n) + wide.narrow(axis, 2 + k, n)
            image.addcmul_(both, weights[k])
    return image


def _noise(
    image: Tensor,
    grain: Tensor,
    read: Tensor,
    seeds: Sequence[int],
    frames: Sequence[int],
) -> Tensor:
    """Shot noise, proportional to the root of light, and constant read noise."""
    amount = (grain[:, None, None, None] ** 2 * image.clamp(min=0) * 0.3).add_(
        read[:, None, None, None] ** 2
    )
    device = image.device
    fields = []
    for seed, frame in zip(seeds, frames, strict=True):
        generator = torch.Generator(device).manual_seed(seed * 100_003 + frame)
        fields.append(torch.randn(image.shape[1:], generator=generator, device=device))
    return torch.stack(fields) * amount.sqrt_()


@lru_cache(maxsize=4)
def _cosines(device: str) -> Tensor:
    """Matrix (8, 8) of the DCT of JPEG."""
    k = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, torch.float32)


def _compress(image: Tensor, quality: Sequence[int]) -> Tensor:
    """Quantise 8 x 8 blocks as JPEG does, chroma more coarsely than luma."""
    if all(q >= 100 for q in quality):
        return image
    device = image.device
    b, _, h, w = image.shape
    red, green, blue = image.unbind(1)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = torch.stack((y, blue - y, red - y), 1)
    planes = F.pad(planes, (0, -w % 8, 0, -h % 8), mode='replicate')
    hp, wp = planes.shape[2:]
    blocks = planes.view(b, 3, hp // 8, 8, wp // 8, 8).transpose(3, 4)
    dct = _cosines(str(device))
    coefficients = dct @ blocks @ dct.T
    k = torch.arange(8, device=device)
    # close to the luminance table of the standard: 16 for the mean, about 100 for the finest
    table = (12 + 6 * (k[:, None] + k[None])) / 255
    strength = [(5000 / q if q < 50 else 200 - 2 * q) / 100 for q in quality]
    step = torch.tensor(strength, device=device).clamp(min=1e-3)
    step = step[:, None] * torch.tensor([1.0, 2.0, 2.0], device=device)
    table = step[:, :, None, None, None, None] * table
    coefficients = (coefficients / table).round_() * table
    planes = (dct.T @ coefficients @ dct).transpose(3, 4).reshape(b, 3, hp, wp)[:, :, :h, :w]
    y, blue, red = planes[:, 0], planes[:, 1] + planes[:, 0], planes[:, 2] + planes[:, 0]
    return torch.stack((red, (y - 0.299 * red - 0.114 * blue) / 0.587, blue), 1)
