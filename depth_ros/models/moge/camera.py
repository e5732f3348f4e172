# SPDX-License-Identifier: Apache-2.0
"""The camera of a point map: its shift along the optical axis, and its focal length.

The network gives points up to a scale and a shift along z. A point (x, y, z) is seen along the ray
(x, y) / (z + s), so the shift s follows from the rays of the pixels, by least squares:

- of a known camera: min over s of sum |(x, y) / (z + s) - ray|^2
- otherwise also the focal length f: min over f and s of sum |f (x, y) / (z + s) - g|^2, where g
  are the positions of the pixels. For a given s the best f is a ratio of two sums.

Either is a function of s alone, on s > -min z. It is compared on a grid of `STEPS` shifts, and the
best one is refined by Newton steps that stay between its neighbours. The number of operations does
not depend on the values, nothing waits for a GPU, and all sums are float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

SAMPLES = 64  #: rows and columns of the samples, whatever the size of the map
STEPS = 96  #: shifts on the grid
#: between the nearest point and the camera, in mean depths: first and last shift of the grid
NEAREST, FARTHEST = 1e-5, 1e4
REFINEMENTS = 16  #: Newton steps; 8 are enough where the function is smooth


def samples(values: Tensor) -> Tensor:
    """The pixels that are compared: (C, H, W) -> (C, SAMPLES, SAMPLES)."""
    rows, columns = _places(values.shape[1], values.shape[2], str(values.device))
    return values[:, rows[:, None], columns]


def shift_of_known(
    points: Tensor, mask: Tensor, size: tuple[int, int], intrinsics: Sequence[float | Tensor]
) -> Tensor:
    """Shift of the points of a known camera.

    Args:
        points: (3, SAMPLES, SAMPLES) float32, x y z, as `samples` has them; on any device.
        mask: (SAMPLES, SAMPLES) bool, those with a point.
        size: (H, W) of the image.
        intrinsics: fx fy cx cy [px] of the image, without distortion; as in `Camera`.

    Returns:
        () float64, 0 if fewer than two samples have a point.
    """
    fx, fy, cx, cy = intrinsics
    v, u = _pixels(size, points.device)
    return _Fit(points, mask, (u - cx) / fx, (v - cy) / fy).shift(focal_known=True)


def focal_and_shift(points: Tensor, mask: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Focal length and shift of the points of an unknown camera with square pixels.

    Its principal point is the middle of the image.

    Args:
        points: as `shift_of_known`.
        mask: as `shift_of_known`.
        size: (H, W) of the image.

    Returns:
        () float64 each: focal length in half diagonals of the image, and shift; 1 and 0 if fewer
        than two samples have a point.
    """
    height, width = size
    half = math.hypot(height, width) / 2
    v, u = _pixels(size, points.device)
    fit = _Fit(points, mask, (u - (width - 1) / 2) / half, (v - (height - 1) / 2) / half)
    shift = fit.shift(focal_known=False)
    return fit.focal(shift), shift


class _Fit:
    """Sums over the samples as functions of the shift.

    Args:
        points: (3, SAMPLES, SAMPLES) float32.
        mask: (SAMPLES, SAMPLES) bool, samples that count if they are finite.
        across: (SAMPLES,) float64, where each column is seen, along x.
        down: (SAMPLES,) float64, where each row is seen, along y.
    """

    def __init__(self, points: Tensor, mask: Tensor, across: Tensor, down: Tensor) -> None:
        x, y, z = points.flatten(1).double()  # (N,)
        there = mask.flatten() & points.isfinite().all(dim=0).flatten()
        across = across.expand(SAMPLES, -1).flatten()
        down = down[:, None].expand(-1, SAMPLES).flatten()
        self.z = torch.where(there, z, torch.inf)  # infinitely far: 1 / (z + s) is 0
        squares = torch.where(there, x * x + y * y, 0.0)
        products = torch.where(there, x * across + y * down, 0.0)
        self.columns = torch.stack((squares, products), dim=1)  # (N, 2)
        self.count = there.sum()
        mean = torch.where(there, z, 0.0).sum() / self.count.clamp(min=1)
        self.unit = torch.where(mean > 0, mean, 1.0)
        self.nearest = torch.where(self.count > 0, self.z.amin(dim=0), 1.0)

    def shift(self, *, focal_known: bool) -> Tensor:
        """The best shift, ()."""
        # distance of the nearest point from the camera, on the grid (STEPS,)
        near = self.unit * _grid(str(self.z.device))
        inverse = 1 / (self.z + (near - self.nearest)[:, None])  # (STEPS, N)
        product = inverse @ self.columns[:, 1]
        square = (inverse * inverse) @ self.columns[:, 0]
        error = square - 2 * product if focal_known else -(product * product) / square
        error = torch.where(error.isfinite(), error, torch.inf)
        best = error.argmin()[None].clamp(1, STEPS - 2)
        low, x, high = (near[best + k].log()[0] for k in (-1, 0, 1))
        for _ in range(REFINEMENTS):
            # derivatives by the logarithm of the distance
            distance = x.exp()
            slope, curvature = self._derivatives(distance - self.nearest, focal_known)
            slope, curvature = slope * distance, curvature * distance**2 + slope * distance
            low, high = torch.where(slope < 0, x, low), torch.where(slope < 0, high, x)
            newton = x - slope / curvature
            inside = (curvature > 0) & (newton > low) & (newton < high)
            x = torch.where(inside, newton, (low + high) / 2)
        return torch.where(self.count < 2, 0.0, x.exp() - self.nearest)

    def _derivatives(self, shift: Tensor, focal_known: bool) -> tuple[Tensor, Tensor]:
        """First and second derivative by the shift of what is minimised, up to a factor."""
        d = 1 / (self.z + shift)
        d2 = d * d
        sums = torch.stack((d, d2, d2 * d, d2 * d2)) @ self.columns  # (4, 2): powers 1 to 4
        square, product = sums[:, 0], sums[:, 1]
        if focal_known:
            # of (sum |q|^2 - 2 sum q ray) / 2, where q = (x, y) / (z + s) and dq / ds = -q d
            return product[1] - square[2], 3 * square[3] - 2 * product[2]
        # of log(sum q^2) - 2 log(sum q g), as the error is sum g^2 - (sum q g)^2 / sum q^2
        a, a1, a2 = product[0], -product[1], 2 * product[2]
        b, b1, b2 = square[1], -2 * square[2], 6 * square[3]
        return b1 / b - 2 * a1 / a, b2 / b - (b1 / b) ** 2 - 2 * (a2 / a - (a1 / a) ** 2)

    def focal(self, shift: Tensor) -> Tensor:
        """The best focal length for a shift, ()."""
        d = 1 / (self.z + shift)
        ratio = (d @ self.columns[:, 1]) / ((d * d) @ self.columns[:, 0])
        return torch.where(self.count < 2, 1.0, ratio)


def clear_cache() -> None:
    """Free the cached grids."""
    _grid.cache_clear()
    _places.cache_clear()


@lru_cache(maxsize=8)
def _grid(device: str) -> Tensor:
    """(STEPS,) float64."""
    ends = math.log10(NEAREST), math.log10(FARTHEST)
    return torch.logspace(*ends, STEPS, dtype=torch.float64).to(device)


@lru_cache(maxsize=64)
def _places(height: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    """Rows and columns of the samples, (SAMPLES,) int64 each."""
    rows, columns = (torch.arange(SAMPLES) * n // SAMPLES for n in (height, width))
    return rows.to(device), columns.to(device)


def _pixels(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns of the samples [px], (SAMPLES,) float64 each."""
    rows, columns = _places(*size, str(device))
    return rows.double(), columns.double()
