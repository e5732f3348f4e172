# SPDX-License-Identifier: Apache-2.0
"""Which virtual pinholes, the tiles, see together all that a wide lens sees.

The first looks along the optical axis, if that is in the image. The others stand in rings around
it: so many that every ray of the lens is in a tile, and as few as the search finds. Tiles that add
nothing are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError
from depth_ros.core.lens import max_angle, pixel_grid, project

Floats = NDArray[np.float64]

#: of the tangent of half a tile's field of view, where rays of the lens must be: at its very edge
#: a tile has no weight
USED = 0.94
#: of a tile that looks steeply up or down, about which no yaw is defined [deg]
STEEP_DEG = 70.0
MIN_SIDE = 16  #: of a tile [px]
LEAST = 0.001  #: tangent of half of a tile's field of view; an image may have one pixel
MOST = 24  #: tiles; more would take longer than anything gains


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A virtual pinhole with the optical centre of the lens.

    Args:
        camera: square, without distortion.
        R_lens_tile: (3, 3) float64, rotates directions of the tile to the frame of the lens.
    """

    camera: Camera
    R_lens_tile: Floats

    @property
    def half(self) -> float:
        """Tangent of half the field of view."""
        return self.camera.width / 2 / self.camera.fx

    def depth_and_tangents(self, rays: Floats) -> tuple[Floats, Floats, Floats]:
        """Of rays (..., 3) of the lens: along the tile's axis, and x and y at Z = 1.

        The last two are NaN for rays that the tile does not look towards.
        """
        own = rays @ self.R_lens_tile
        z = own[..., 2]
        ahead = np.where(z > 1e-3, z, np.nan)
        return z, own[..., 0] / ahead, own[..., 1] / ahead

    def weight(self, rays: Floats) -> Floats:
        """(...) weight of the tile for rays (..., 3) of the lens, from 1 at its axis to 0."""
        _, x, y = self.depth_and_tangents(rays)
        near = (1 - np.abs(x) / self.half).clip(0) * (1 - np.abs(y) / self.half).clip(0)
        return np.asarray(np.nan_to_num(near))


@lru_cache(maxsize=8)
def layout(camera: Camera, tile_fov_deg: float, max_angle_deg: float = 180.0) -> tuple[Tile, ...]:
    """The tiles of a lens, the one next to its axis first; cached.

    Args:
        camera: of any distortion model, or none.
        tile_fov_deg: field of view of a tile along its sides; smaller where one tile suffices.
        max_angle_deg: from the optical axis, beyond which the lens has no image.

    Raises:
        CameraError: the lens sees nothing, or too much for so narrow tiles.
    """
    rays = pixel_grid(camera, max(1, max(camera.size) // 96)).reshape(-1, 3)
    seen = rays[:, 2] >= math.cos(math.radians(max_angle_deg))  # NaN is not
    if seen.mean() < 0.01:
        raise CameraError(
            f'less than 1 % of the image of this {camera.distortion_model} lens has a viewing ray '
            f'within {max_angle_deg:g} deg of its axis: make undistort.max_angle larger, or '
            'calibrate the camera (camera_calibration)'
        )
    rays = rays[seen]
    half = math.tan(math.radians(tile_fov_deg) / 2)
    front = np.eye(3)
    if _covered(front, rays, half).all():
        needed = float(np.abs(rays[:, :2] / rays[:, 2:]).max()) / USED
        return (_tile(camera, front, max(needed, LEAST)),)
    best: tuple[tuple[int, float], list[Floats]] | None = None
    for candidates in _rings(rays, tile_fov_deg):
        inside = np.stack([_covered(R, rays, half) for R in candidates])
        if not inside.any(0).all():
            continue
        # one that shows nothing is left out, too: the axis of a cropped image may be outside
        kept = [k for k in _needed(candidates, inside) if inside[k].any()]
        # few tiles, and of as few as possible those whose edges are least used
        margin = np.stack([_margin(candidates[k], rays) for k in kept]).min(0).max()
        cost = len(kept), float(margin)
        if best is None or cost < best[0]:
            best = cost, [candidates[k] for k in kept]
    if best is None or best[0][0] > MOST:
        raise CameraError(
            f'undistort.tile_fov is {tile_fov_deg:g}: more than {MOST} tiles would be needed for '
            f'this {camera.distortion_model} lens; make it larger'
        )
    return tuple(_tile(camera, R, half) for R in best[1])


def _rings(rays: Floats, fov_deg: float) -> Iterator[list[Floats]]:
    """Sets of orientations: the axis of the lens, and rings around it at one angular step."""
    reach = math.degrees(math.acos(float(rays[:, 2].min().clip(-1, 1))))
    for share in np.arange(0.9, 0.35, -0.02):
        step = math.radians(share * fov_deg)
        for turned in (0.0, 0.5):
            orientations = [np.eye(3)]
            ring = 1
            while (ring - 0.5) * step < math.radians(reach) and ring * step < math.pi:
                polar = ring * step
                count = max(4, 2 * math.ceil(math.pi * math.sin(polar) / step))
                for k in range(count):
                    orientations.append(_looking(polar, 2 * math.pi * (k + turned) / count))
                ring += 1
            yield orientations


def _looking(polar: float, azimuth: float) -> Floats:
    """R_lens_tile of a tile that looks to one side, upright where that means anything.

    Networks know a floor below and a sky above.

    Args:
        polar: angle from the optical axis [rad].
        azimuth: 0 is to the right, a quarter turn down [rad].
    """
    direction = np.array(
        [
            math.sin(polar) * math.cos(azimuth),
            math.sin(polar) * math.sin(azimuth),
            math.cos(polar),
        ]
    )
    pitch = math.asin(float(direction[1].clip(-1, 1)))  # down
    if abs(pitch) < math.radians(STEEP_DEG):
        return _about_y(math.atan2(direction[0], direction[2])) @ _about_x(-pitch)
    # the shortest way from the axis: continuous over the pole
    return _about_z(azimuth) @ _about_y(polar) @ _about_z(-azimuth)


def _about_x(angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _margin(R: Floats, rays: Floats) -> Floats:
    """Of rays, the larger tangent in a tile; Inf behind it."""
    own = rays @ R
    ahead = np.where(own[:, 2] > 1e-3, own[:, 2], np.nan)
    return np.asarray(np.nan_to_num(np.abs(own[:, :2]).max(1) / ahead, nan=np.inf))


def _covered(R: Floats, rays: Floats, half: float) -> NDArray[np.bool_]:
    return _margin(R, rays) <= USED * half


def _needed(orientations: list[Floats], inside: NDArray[np.bool_]) -> list[int]:
    """Indices of tiles that cover all rays together, without those that are not needed.

    Tiles that mirror each other, left and right or up and down, stay or go together.

    Args:
        orientations: of the tiles.
        inside: (tiles, rays) bool.
    """
    groups: dict[tuple[float, ...], list[int]] = {}
    for k, R in enumerate(orientations):
        groups.setdefault((*np.abs(R[:, 2]).round(6), R[2, 2] > 0), []).append(k)
    kept = set(range(len(orientations)))
    counts = inside.sum(0)
    # those with the fewest rays first, as they are at the border of the image
    for group in sorted(groups.values(), key=lambda group: inside[group].sum() / len(group)):
        left = counts - inside[group].sum(0)
        if 0 not in group and (left > 0).all():
            counts, kept = left, kept - set(group)
    return sorted(kept)


def _tile(camera: Camera, R: Floats, half: float) -> Tile:
    """A tile whose middle has about the resolution of the lens at its axis."""
    delta = 1e-3 * min(1.0, max_angle(camera))
    u, v = project(np.array([[0, 0, 1], [math.sin(delta), 0, math.cos(delta)]]), camera)
    per_radian = math.hypot(u[1] - u[0], v[1] - v[0]) / delta
    side = min(max(MIN_SIDE, round(2 * half * per_radian)), max(camera.size))
    focal, centre = side / 2 / half, (side - 1) / 2
    return Tile(Camera(side, side, focal, focal, centre, centre), R)
