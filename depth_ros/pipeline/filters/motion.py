# SPDX-License-Identifier: Apache-2.0
"""Motion of a camera between two frames, from small images and the depth of the earlier one.

The motion is the one that makes the later image look like the earlier one (direct alignment, as in
Kerl, Sturm and Cremers, "Robust odometry estimation for RGB-D cameras", 2013): Gauss-Newton on the
differences of brightness, from coarse to fine, robust against what moves by itself. Arrays are
numpy's on a CPU, where torch takes four times as long for so few pixels, and torch's on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.geometry import rays
from depth_ros.core.resample import downscale

Array = Any  #: float32, of numpy or torch

WIDTH = 64  #: of the finest small image [px]; the height follows the aspect
LEVELS = 3  #: each half as wide
STEPS = 2  #: of Gauss-Newton at each level
#: difference of brightness that counts half as much as none, in standard deviations of the image
ROBUST = 0.15
#: prior against translation [per m] and rotation [per rad], for images that do not tell
PRIOR = (1e-3, 1e-6)
NEAREST = 1e-3  #: depth of points behind the camera [m]
_MEAN = np.full((1, 3), 1 / 3, np.float32)


@dataclass(frozen=True, slots=True)
class Motion:
    """Maps points of the earlier optical frame to the later: p_later = R p_earlier + t.

    Args:
        R: (3, 3).
        t: (3, 1) [m].
    """

    R: Array
    t: Array

    def backward(self, points: Array) -> Array:
        """Points (3, N) of the later frame in the earlier frame."""
        return self.R.T @ (points - self.t)


@dataclass(frozen=True, slots=True)
class SmallCamera:
    """A camera at the size of a small image.

    Args:
        size: (h, w).
        x: (h w,) viewing rays scaled to z = 1.
        y: (h w,) likewise.
        focal: fx, fy [px].
        centre: cx, cy [px].
    """

    size: tuple[int, int]
    x: Array
    y: Array
    focal: tuple[float, float]
    centre: tuple[float, float]

    def points(self, z: Array) -> Array:
        """(3, h w) points of depth z (h w,) [m]."""
        return library(z).stack((self.x * z, self.y * z, z))

    def project(self, points: Array) -> tuple[Array, Array]:
        """Columns and rows [px] of points (3, N)."""
        inverse = 1 / points[2].clip(NEAREST)
        (fx, fy), (cx, cy) = self.focal, self.centre
        return points[0] * inverse * fx + cx, points[1] * inverse * fy + cy


@lru_cache(maxsize=32)
def small_cameras(camera: Camera, device: str) -> tuple[SmallCamera, ...]:
    """The camera at the sizes of its small images, from fine to coarse; cached.

    Args:
        camera: undistorted.
        device: on 'cpu' arrays are numpy's.
    """
    width = min(WIDTH, camera.width)
    height = max(1, round(width * camera.height / camera.width))
    cameras = []
    for level in range(LEVELS):
        small = camera.resized(max(1, width >> level), max(1, height >> level))
        x, y = rays(small, device)
        x, y = (ray.expand(small.size).reshape(-1) for ray in (x, y))
        cameras.append(
            SmallCamera(
                small.size,
                x.numpy() if device == 'cpu' else x,
                y.numpy() if device == 'cpu' else y,
                (small.fx, small.fy),
                (small.cx, small.cy),
            )
        )
    return tuple(cameras)


def small_images(rgb: Tensor, cameras: tuple[SmallCamera, ...]) -> list[Array]:
    """Brightness of an image at the sizes of `cameras`.

    Its mean is 0 and its standard deviation 1, so that exposure does not matter.

    Args:
        rgb: (H, W, 3) uint8.
        cameras: from fine to coarse.
    """
    height, width = cameras[0].size
    if rgb.device.type == 'cpu':
        pixels: Any = rgb.numpy()
        if pixels.shape[1] > 2 * width:  # averaging all pixels takes seven times as long
            pixels = cv2.resize(pixels, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        brightness: Array = cv2.transform(pixels.astype(np.float32), _MEAN)
        mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(brightness))
        brightness = (brightness - mean) / (deviation + 1)
    else:
        brightness = downscale(rgb, (height, width)).mean(-1)
        brightness = (brightness - brightness.mean()) / (brightness.std() + 1)
    return [brightness, *(_resized(brightness, camera.size) for camera in cameras[1:])]


@dataclass(frozen=True, slots=True)
class Template:
    """What the motion since a frame is found with: of each small image, from fine to coarse.

    Args:
        images: (h, w).
        points: (3, h w) [m].
        jacobians: (6, h w), brightness by translation and rotation; 0 where depth is unknown.
        cameras: of the images.
    """

    images: list[Array]
    points: list[Array]
    jacobians: list[Array]
    cameras: tuple[SmallCamera, ...]


def template(images: list[Array], z: Array, cameras: tuple[SmallCamera, ...]) -> Template:
    """Prepare a frame, for the motion to the next one.

    Args:
        images: as `small_images` returns them.
        z: (h, w) depth of the finest image [m]; not finite where it is unknown.
        cameras: of the images.
    """
    depths = [z, *(sampled(z, camera.size) for camera in cameras[1:])]
    points, jacobians = [], []
    for image, depth, camera in zip(images, depths, cameras, strict=True):
        lib, depth = library(depth), depth.reshape(-1)
        known = lib.isfinite(depth) & (depth > 0)
        depth = lib.where(known, depth, lib.ones_like(depth))
        x, y, inverse = camera.x, camera.y, 1 / depth
        by_x, by_y = (g.reshape(-1) * f for g, f in zip(_gradient(image), camera.focal))  # noqa: B905
        along = by_x * x + by_y * y
        jacobian = lib.stack((
            by_x * inverse, by_y * inverse, -along * inverse,
            -by_y - along * y, by_x + along * x, by_y * x - by_x * y,
        ))  # fmt: skip
        jacobians.append(jacobian * known)
        points.append(camera.points(depth))
    return Template(images, points, jacobians, cameras)


def motion_since(earlier: Template, images: list[Array]) -> Motion:
    """The motion from the frame of the template to the frame of `images`, without waiting.

    Args:
        earlier: the template.
        images: of the later frame, at the same sizes.
    """
    lib = library(images[0])
    R, t = _eye(3, images[0]), _eye(3, images[0])[:, :1] * 0
    prior = _prior(images[0])
    levels = zip(
        images, earlier.images, earlier.points, earlier.jacobians, earlier.cameras, strict=True
    )
    for later, image, points, jacobian, camera in reversed(list(levels)):
        count = len(camera.x)
        for _ in range(STEPS):
            there = sampled_at(later, *camera.project(R @ points + t))
            difference = there.reshape(-1) - image.reshape(-1)
            seen = difference == difference
            difference = lib.where(seen, difference, lib.zeros_like(difference))
            weighted = jacobian * (seen / (1 + (difference / ROBUST) ** 2))
            step = _solved(weighted @ jacobian.T + count * prior, weighted @ difference)
            # inverse compositional: the step moves the template
            R = R @ _rotation(step[3:]).T
            t = t - R @ step[:3, None]
    return Motion(R, t)


def known_motion(T_later_earlier: Any, like: Array) -> Motion:
    """A motion that is known, as arrays on the device of `like`.

    Args:
        T_later_earlier: (4, 4), maps points of the earlier optical frame to the later [m].
        like: an array there.
    """
    T = np.asarray(T_later_earlier, np.float32)
    R, t = T[:3, :3], T[:3, 3:]
    if isinstance(like, Tensor):
        return Motion(torch.from_numpy(R.copy()).to(like), torch.from_numpy(t.copy()).to(like))
    return Motion(R, t)


def library(array: Array) -> Any:
    """The module of an array, numpy or torch."""
    return torch if isinstance(array, Tensor) else np


def sampled_at(image: Array, u: Array, v: Array, *, nearest: bool = False) -> Array:
    """Values of an image at columns u and rows v, (h, w); NaN outside.

    Args:
        image: (h, w).
        u: (h w,) finite.
        v: (h w,) finite.
        nearest: take the nearest pixel, else interpolate linearly.
    """
    height, width = image.shape
    u, v = u.reshape(height, width), v.reshape(height, width)
    if not isinstance(image, Tensor):
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        border = cv2.BORDER_CONSTANT
        return cv2.remap(image, u, v, how, borderMode=border, borderValue=np.nan)
    grid = torch.stack(((2 * u + 1) / width - 1, (2 * v + 1) / height - 1), -1)[None]
    mode = 'nearest' if nearest else 'bilinear'
    values = F.grid_sample(
        image[None, None], grid, mode=mode, padding_mode='border', align_corners=False
    )[0, 0]
    margin = 0.5 if nearest else 0.0
    inside = (u >= -margin) & (u <= width - 1 + margin) & (v >= -margin)
    return torch.where(inside & (v <= height - 1 + margin), values, torch.nan)


def clear_cache() -> None:
    """Free the tables of each camera."""
    small_cameras.cache_clear()
    _middles.cache_clear()


def _resized(image: Array, size: tuple[int, int]) -> Array:
    """(h, w) by averaging."""
    if isinstance(image, Tensor):
        return F.interpolate(image[None, None], size, mode='area')[0, 0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def sampled(z: Array, size: tuple[int, int]) -> Array:
    """(h, w) of the pixels in the middle of each cell: depths across an edge have no mean.

    Args:
        z: (H, W).
        size: (h, w).
    """
    device = str(z.device) if isinstance(z, Tensor) else ''
    rows, columns = (_middles(n, m, device) for n, m in zip(z.shape, size, strict=True))
    return z[rows[:, None], columns]


@lru_cache(maxsize=64)
def _middles(length: int, cells: int, device: str) -> Array:
    """The pixel in the middle of each of `cells` cells of an axis."""
    middles = (2 * np.arange(cells) + 1) * length // (2 * cells)
    return torch.from_numpy(middles).to(device) if device else middles


def _gradient(image: Array) -> tuple[Array, Array]:
    """Differences along columns and rows (h, w), of the pixels on both sides."""
    if isinstance(image, Tensor):
        wide: Array = F.pad(image[None, None], (1, 1, 1, 1), mode='replicate')[0, 0]
    else:
        wide = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return (wide[1:-1, 2:] - wide[1:-1, :-2]) / 2, (wide[2:, 1:-1] - wide[:-2, 1:-1]) / 2


def _eye(n: int, like: Array) -> Array:
    if isinstance(like, Tensor):
        return torch.eye(n, device=like.device)
    return np.eye(n, dtype=np.float32)


def _prior(like: Array) -> Array:
    """(6, 6) diagonal."""
    scale = _eye(6, like)
    scale[:3] *= PRIOR[0]
    scale[3:] *= PRIOR[1]
    return scale


def _rotation(vector: Array) -> Array:
    """(3, 3) rotation about a small vector (3,), by its length [rad]."""
    if not isinstance(vector, Tensor):
        return cv2.Rodrigues(vector)[0]
    x, y, z = vector / 2
    zero, eye = x * 0, _eye(3, vector)
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero)).reshape(3, 3)
    return _solved(eye - skew, eye + skew)  # Cayley's, the same up to the third power


def _solved(a: Array, b: Array) -> Array:
    if isinstance(a, Tensor):
        return torch.linalg.solve_ex(a, b)[0]  # the other one waits for the GPU
    return np.linalg.solve(a, b)
