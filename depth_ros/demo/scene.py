# SPDX-License-Identifier: Apache-2.0
"""A small synthetic yard, ray cast with numpy: every pixel has a colour and its exact depth.

The world's axes are those of a level optical frame at the start: x right, y down, z forward. The
camera stays at y = 0, so the ground is the plane y = HEIGHT and flat_ground is right about it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from depth_ros.camera import Camera

HEIGHT = 1.2  #: of the camera above the ground [m]
TILE = 0.5  #: side of a ground tile [m]
RADIUS, LAP_S = 6.0, 60.0  #: of the round trip: 0.63 m/s
INWARD = math.radians(58.0)  #: heading against the tangent, so that the middle is in view
SUN = np.array([0.52, -0.70, -0.49]) / np.linalg.norm([0.52, -0.70, -0.49])
AMBIENT = 0.42  #: share of light that shadows keep
SKY_LOW, SKY_HIGH = np.array([214.0, 226.0, 234.0]), np.array([92.0, 142.0, 202.0])
TILES = np.array([[158.0, 152.0, 142.0], [118.0, 116.0, 114.0]])

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box on the ground or on another box.

    Args:
        x: of its centre [m].
        z: of its centre [m].
        size: along x, y, z [m].
        rgb: colour of its faces, 0..255.
        stripe: height of its stripes [m]; 0 paints a crate's frame instead.
        base: height of its underside above the ground [m].
    """

    x: float
    z: float
    size: tuple[float, float, float]
    rgb: tuple[int, int, int]
    stripe: float = 0.0
    base: float = 0.0

    @property
    def corners(self) -> tuple[Array, Array]:
        """Least and greatest corner, (3,) [m] each."""
        half = np.array(self.size) / 2
        centre = np.array([self.x, HEIGHT - self.base - half[1], self.z])
        return centre - half, centre + half


BOXES = (
    Box(0.0, 0.0, (1.2, 1.2, 1.2), (186, 128, 70)),
    Box(1.3, 0.2, (1.0, 0.8, 0.8), (70, 120, 160)),
    Box(0.1, 0.1, (0.8, 0.8, 0.8), (196, 92, 62), base=1.2),
    Box(-1.6, 1.4, (0.8, 0.8, 0.8), (92, 146, 86)),
    Box(2.6, -2.2, (0.6, 0.6, 0.6), (206, 160, 60)),
    Box(-2.4, -2.0, (0.9, 1.6, 0.7), (150, 84, 120)),
    Box(3.2, 2.4, (0.16, 2.2, 0.16), (214, 70, 52), stripe=0.22),
    Box(-3.4, 0.4, (0.16, 2.2, 0.16), (214, 70, 52), stripe=0.22),
    Box(0.2, 3.6, (0.16, 2.2, 0.16), (214, 70, 52), stripe=0.22),
    Box(0.6, -3.6, (0.16, 2.2, 0.16), (214, 70, 52), stripe=0.22),
    Box(-9.5, -8.0, (1.2, 1.2, 1.2), (70, 140, 150)),
    Box(9.0, 6.0, (1.4, 1.0, 1.0), (176, 126, 74)),
    Box(-8.5, 5.0, (0.9, 1.4, 0.9), (198, 150, 64)),
    Box(8.4, -6.4, (1.0, 1.8, 1.0), (96, 112, 168)),
    Box(-2.0, 14.0, (16.0, 2.6, 0.3), (178, 118, 96), stripe=0.26),
    Box(15.0, 0.0, (0.3, 3.2, 18.0), (168, 160, 148), stripe=0.4),
    Box(3.0, -15.0, (20.0, 2.2, 0.3), (150, 134, 120), stripe=0.22),
    Box(-14.0, -1.0, (0.3, 3.0, 15.0), (132, 150, 146), stripe=0.5),
)


def camera_of(width: int, height: int, hfov_deg: float = 70.0) -> Camera:
    """A centred pinhole with square pixels and a horizontal field of view of `hfov_deg` [deg]."""
    focal = width / 2 / math.tan(math.radians(hfov_deg) / 2)
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def pose(time_s: float) -> tuple[Array, Array]:
    """Where the camera is at `time_s` [s], a round trip of LAP_S.

    Returns:
        its position (3,) [m] and R_world_camera (3, 3), a turn about the vertical.
    """
    angle = 2 * math.pi * time_s / LAP_S - 1.1
    position = np.array([RADIUS * math.cos(angle), 0.0, RADIUS * math.sin(angle)])
    heading = -angle - INWARD  # 0 looks along +z; the tangent of the circle is at -angle
    c, s = math.cos(heading), math.sin(heading)
    return position, np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def render(camera: Camera, time_s: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """What the camera sees at `time_s` [s].

    Returns:
        rgb (H, W, 3) uint8, and depth (H, W) float32: exact Z [m] at pixel centres, +Inf sky.
    """
    origin, turn = pose(time_s)
    a = (np.arange(camera.width) - camera.cx) / camera.fx
    b = (np.arange(camera.height) - camera.cy) / camera.fy
    # forward part 1, so the ray parameter is Z
    rays = np.stack(np.broadcast_arrays(a, b[:, None], 1.0), axis=-1) @ turn.T  # (H, W, 3)
    with np.errstate(divide='ignore'):
        z = np.broadcast_to(np.where(b > 0, HEIGHT / b, np.inf)[:, None], camera.size).copy()
    owner = np.where(np.isfinite(z), 0, -1)  # -1 sky, 0 ground, i + 1 box i
    for i, box in enumerate(BOXES):
        rows, cols = _window(camera, origin, turn, box)
        near, far = _slab(origin, rays[rows, cols], box)
        hit = (near <= far) & (near > 0) & (near < z[rows, cols])
        z[rows, cols][hit] = near[hit]
        owner[rows, cols][hit] = i + 1
    return _shade(camera, origin, rays, z, owner), z.astype(np.float32)


def _slab(origin: Array, rays: Array, box: Box) -> tuple[Array, Array]:
    """Ray parameters at which `rays` (..., 3) from `origin` (..., 3) enter and leave `box`."""
    low, high = box.corners
    near, far = np.array(-np.inf), np.array(np.inf)
    for axis in range(3):
        step = rays[..., axis]
        step = np.where(np.abs(step) < 1e-12, 1e-12, step)  # parallel: far away, not NaN
        t0, t1 = (low[axis] - origin[..., axis]) / step, (high[axis] - origin[..., axis]) / step
        near, far = np.maximum(near, np.minimum(t0, t1)), np.minimum(far, np.maximum(t0, t1))
    return near, far


def _window(camera: Camera, origin: Array, turn: Array, box: Box) -> tuple[slice, slice]:
    """Rows and columns that can see `box`: all of them where it reaches behind the camera."""
    grid = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, 8).T
    corners = (np.where(grid, *box.corners[::-1]) - origin) @ turn  # (8, 3) in the camera's axes
    if corners[:, 2].max() <= 0:
        return slice(0), slice(0)
    if corners[:, 2].min() < 0.05:
        return slice(None), slice(None)
    u = corners[:, 0] / corners[:, 2] * camera.fx + camera.cx
    v = corners[:, 1] / corners[:, 2] * camera.fy + camera.cy
    rows, cols = (slice(max(0, int(p.min())), max(0, int(p.max()) + 2)) for p in (v, u))
    return rows, cols


def _shade(
    camera: Camera, origin: Array, rays: Array, z: Array, owner: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Colour of every pixel, (H, W, 3) uint8: texture times sun, shadow and a little haze."""
    height = np.clip(-rays[..., 1] * 2.2, 0, 1)[..., None]
    sky = SKY_LOW + (SKY_HIGH - SKY_LOW) * np.sqrt(height)
    picture = sky.copy()
    solid = owner >= 0
    points = origin + rays[solid] * z[solid][:, None]  # (N, 3) [m]
    ids, haze = owner[solid], (1 - np.exp(z[solid] / -60))[:, None]
    blur = z[solid] / camera.fx  # a pixel's size there [m]
    colour, light = np.empty_like(points), np.full(len(points), -SUN[1])
    ground = ids == 0
    colour[ground] = _tiles(points[ground], rays[solid][ground], blur[ground])
    for i, box in enumerate(BOXES):
        mine = np.flatnonzero(ids == i + 1)
        if len(mine):
            colour[mine], normal = _paint(points[mine], blur[mine], box)
            light[mine] = np.maximum(0, normal @ SUN)
    light[_in_shadow(points)] = 0
    shade = AMBIENT + (1 - AMBIENT) * 1.15 * light
    picture[solid] = colour * shade[:, None] * (1 - haze) + sky[solid] * haze
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _in_shadow(points: Array) -> NDArray[np.bool_]:
    """Which of `points` (N, 3) a box hides from the sun."""
    dark = np.zeros(len(points), bool)
    x, z = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 2])
    for box in BOXES:
        low, high = box.corners
        tip = SUN * (box.base + box.size[1]) / SUN[1]  # from the box to where its shadow ends
        low, high = low + np.minimum(tip, 0) - 1e-3, high + np.maximum(tip, 0) + 1e-3
        by = np.flatnonzero((x > low[0]) & (x < high[0]) & (z > low[2]) & (z < high[2]))
        near, far = _slab(points[by], SUN[None], box)
        dark[by[far - np.maximum(near, 0) > 1e-3]] = True  # more than a graze of its own face
    return dark


def _tiles(points: Array, rays: Array, blur: Array) -> Array:
    """Checkered ground, box-filtered over each pixel's footprint, (N, 3)."""
    stretch = np.abs(rays[:, ::2]) * (blur / np.maximum(rays[:, 1], 1e-9))[:, None]
    width = (blur[:, None] + stretch) / TILE + 1e-6
    p = points[:, ::2] / TILE
    wave = lambda q: np.abs((q / 2) % 1 - 0.5)  # noqa: E731 - integral of the square wave
    parity = 2 * (wave(p - width / 2) - wave(p + width / 2)) / width  # (N, 2) in -1..1
    mix = (0.5 - 0.5 * parity[:, 0] * parity[:, 1])[:, None]
    cell = np.floor(p)
    noise = np.sin(cell[:, 0] * 12.9898 + cell[:, 1] * 78.233) * 43758.5453 % 1 - 0.5
    tone = 1 + 0.16 * noise * np.clip(1.5 - np.maximum(width[:, 0], width[:, 1]), 0, 1)
    return (TILES[0] * mix + TILES[1] * (1 - mix)) * tone[:, None]


def _paint(points: Array, blur: Array, box: Box) -> tuple[Array, Array]:
    """Colour (N, 3) and outward normal (N, 3) of points on `box`."""
    low, high = box.corners
    inside = np.minimum(points - low, high - points)  # distance to each pair of faces
    axis = inside.argmin(1)
    rows = np.arange(len(points))
    normal = np.zeros_like(points)
    normal[rows, axis] = np.sign(points[rows, axis] - (low + high)[axis] / 2)
    sharp = np.clip(1.5 - blur / 0.03, 0, 1)  # texture finer than a pixel fades to its mean
    if box.stripe:
        pattern = np.where(((high[1] - points[:, 1]) // box.stripe) % 2 == 0, 1.0, 0.82)
        white = box.size[0] < 0.5 and box.size[2] < 0.5  # posts are red and white
        colour = np.array(box.rgb) * pattern[:, None]
        return np.where(white & (pattern < 1)[:, None], 226.0, colour), normal
    inside[rows, axis] = np.inf
    frame = inside.min(1) < 0.07
    plank = (points.sum(1) - points[rows, axis]) % 0.2 < 0.012
    tone = 1 - sharp * (0.28 * frame + 0.35 * (plank & ~frame))
    return np.array(box.rgb) * tone[:, None], normal
