# SPDX-License-Identifier: Apache-2.0
"""A correction: from the values of a network to metres, by few numbers and a small map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

#: entries of the table that a spline is applied by; its error is below 0.01 %
TABLE = 512


def on_host(x: Tensor) -> bool:
    """Whether numpy and OpenCV can work on it, which take less time than torch."""
    return x.device.type == 'cpu'


@dataclass(frozen=True, slots=True)
class Spline:
    """Factor on depth as a function of depth, linear between knots and constant outside.

    Args:
        log_z: (K,) float64, increasing, logarithm of the depth to be corrected.
        log_factor: (K,) float64; `log_z + log_factor` increases.
    """

    log_z: NDArray[np.float64]
    log_factor: NDArray[np.float64]

    def __call__(self, log_z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of the factor, of the shape of `log_z`."""
        return np.interp(log_z, self.log_z, self.log_factor)


@dataclass(frozen=True, slots=True)
class Correction:
    """Values v of a network -> Z [m].

    Z = 1 / (1 / (scale v) + shift) where v is depth, 1 / (scale v + shift) where it is inverse
    depth; times the factors of `spline` and `field`.

    Args:
        scale: metres per unit of depth; for inverse depth 1 / metres per unit.
        shift: added to inverse depth [1/m].
        inverse: v is affine-inverse depth.
        spline: factor by depth, or None.
        field: (h, w) float32, factor by place in the image, linear between the centres of its
            cells; or None.
    """

    scale: float
    shift: float = 0.0
    inverse: bool = False
    spline: Spline | None = None
    field: NDArray[np.float32] | None = None

    def scaled(self, factor: float) -> Correction:
        """The same correction, followed by a factor on Z."""
        shift = self.shift / factor
        if self.inverse:
            return replace(self, scale=self.scale / factor, shift=shift)
        return replace(self, scale=self.scale * factor, shift=shift)

    def at(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Z [m] of some values, without `field`; (N,) float64, +Inf where 1/Z is not positive."""
        with np.errstate(divide='ignore', invalid='ignore'):
            scaled = self.scale * values
            inverse = (scaled if self.inverse else 1 / scaled) + self.shift
            z: NDArray[np.float64] = np.where(inverse > 0, 1 / inverse, np.inf)
            return z * np.exp(self.spline(np.log(z))) if self.spline else z

    def __call__(self, values: Tensor) -> Tensor:
        """Z of a whole map.

        Args:
            values: (H, W) float32, on any device.

        Returns:
            (H, W) float32 [m]; +Inf where inverse depth is zero or less. NaN stays NaN, and depth
            that is not positive stays so.
        """
        z = self._curve(values)
        if self.spline is not None:
            z = z * _by_table(z, self.spline)
        if self.field is not None:
            z = z * _enlarged(self.field, z)
        return z

    def _curve(self, values: Tensor) -> Tensor:
        if not self.inverse and not self.shift:
            return values * self.scale
        if on_host(values):
            return torch.from_numpy(self._curve_by_numpy(values.numpy()))
        if self.inverse:
            inverse = values * self.scale + self.shift
            return torch.where(inverse <= 0, torch.inf, inverse.reciprocal())
        inverse = (values * self.scale).reciprocal() + self.shift
        z = torch.where(inverse <= 0, torch.inf, inverse.reciprocal())
        return torch.where(values <= 0, values, z)

    def _curve_by_numpy(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """As with torch, in less time: what is rare is only looked for where it occurs."""
        with np.errstate(divide='ignore', invalid='ignore'):
            if self.inverse:
                inverse = values * np.float32(self.scale)
            else:
                inverse = np.float32(1 / self.scale) / values
            inverse += np.float32(self.shift)
            z: NDArray[np.float32] = np.reciprocal(inverse)
        # comparisons skip NaN
        if not np.fmin.reduce(inverse, axis=None) > 0:
            z[inverse <= 0] = np.inf
        if not self.inverse and not np.fmin.reduce(values, axis=None) > 0:
            np.copyto(z, values, where=values <= 0)
        return z


def _by_table(z: Tensor, spline: Spline) -> Tensor:
    """(H, W) float32, the factor for each depth; NaN for NaN, some factor for zero and less."""
    first, last = float(spline.log_z[0]), float(spline.log_z[-1])
    table = np.exp(spline(np.linspace(first, last, TABLE))).astype(np.float32)
    per_entry = (TABLE - 1) / (last - first)
    if not on_host(z):
        lookup = torch.from_numpy(table).to(z.device)
        where = ((z.log() - first) * per_entry).nan_to_num(0.0).clamp(0, TABLE - 1)
        lower = where.long().clamp(max=TABLE - 2)
        return torch.lerp(lookup[lower], lookup[lower + 1], where - lower)
    place: Any = cv2.log(z.numpy())
    place -= first
    place *= per_entry
    np.fmax(place, 0, out=place)  # also for NaN
    np.fmin(place, TABLE - 1, out=place)
    below = place.astype(np.int32)
    place -= below
    place *= np.append(np.diff(table), np.float32(0))[below]
    place += table[below]
    return torch.from_numpy(place)


def _enlarged(field: NDArray[np.float32], z: Tensor) -> Tensor:
    """(H, W) float32, the field at the size of `z`."""
    height, width = z.shape
    if on_host(z):
        return torch.from_numpy(cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR))
    small = torch.from_numpy(field).to(z.device)[None, None]
    return F.interpolate(small, (height, width), mode='bilinear', align_corners=False)[0, 0]
