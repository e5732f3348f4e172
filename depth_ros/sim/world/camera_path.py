# SPDX-License-Identifier: Apache-2.0
"""Random cameras, random poses in free space, and smooth trajectories through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.sim.world.layouts import random_scene
from depth_ros.sim.world.primitives import KINDS
from depth_ros.sim.world.render import camera_pose
from depth_ros.sim.world.scene import Scene

CLEARANCE = 0.35  #: minimum distance of a camera from all surfaces [m]
LOW, HIGH = 0.3, 2.0  #: height of a camera above the floor [m]
LAP_S = 60.0  #: duration of a trajectory, which ends where it began [s]

Array = NDArray[np.float64]


def random_camera(seed: int, width: int, height: int, *, distorted: bool = False) -> Camera:
    """A camera with a focal length of 0.5 to 1.6 image widths, 90 to 35 degrees.

    Args:
        seed: equal seeds give equal cameras.
        width: columns [px].
        height: rows [px].
        distorted: add the distortion of a common lens (plumb_bob).
    """
    rng = Random(f'{seed} camera')
    fx = width * math.exp(rng.uniform(math.log(0.5), math.log(1.6)))
    fy = fx * (1 + rng.gauss(0, 0.004))
    cx = (width - 1) / 2 + rng.gauss(0, 0.012) * width
    cy = (height - 1) / 2 + rng.gauss(0, 0.012) * height
    if not distorted:
        return Camera(width, height, fx, fy, cx, cy)
    # the polynomial must be invertible in the corners of a wide image
    corner = math.hypot(width, height) / 2 / fx
    k1 = rng.uniform(-0.22, 0.06) / max(1.0, corner * corner)
    coefficients = (k1, -0.12 * k1, rng.gauss(0, 5e-4), rng.gauss(0, 5e-4), 0.0)
    return Camera(width, height, fx, fy, cx, cy, 'plumb_bob', coefficients)


def first_along(scene: Scene, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """First hits of a few hundred rays; every solid is tested against every ray.

    Args:
        scene: on the CPU.
        origins: (N, 3) float64 [m].
        directions: (N, 3) float64.

    Returns:
        (N,) ray parameter of the first hit, +Inf if there is none; (N,) index of the solid, -1 for
        none and 0 for the ground.
    """
    o = [origins[:, i, None] for i in range(3)]
    d = [directions[:, i, None] for i in range(3)]
    best = ((scene.ground - o[2]) / d[2])[:, 0]
    best = torch.where(best > 0, best, torch.inf)
    what = torch.where(torch.isinf(best), -1, 0)
    first = 1
    for name, kind in KINDS.items():
        f = scene.solids[name].to(origins.device)
        if f.shape[1]:
            near, far = kind.span([r[None] for r in f], o, d)
            hit, which = torch.where((near <= far) & (near > 0), near, torch.inf).min(1)
            what = torch.where(hit < best, which + first, what)
            best = torch.minimum(best, hit)
        first += f.shape[1]
    return best, what


def posed_scenes(seeds: Iterable[int]) -> Iterator[tuple[int, Scene, Tensor]]:
    """Seed, scene and `random_pose`; scenes without free space for a camera are left out."""
    for seed in seeds:
        scene = random_scene(seed)
        try:
            pose = random_pose(scene, seed)
        except ConfigError:
            continue
        yield seed, scene, pose


def random_pose(scene: Scene, seed: int) -> Tensor:
    """A random pose with a useful image; T_world_camera, (4, 4) float64.

    It is 0.3 to 2 m above the floor and at least `CLEARANCE` from all surfaces. Images that show
    only a wall or the sky are avoided.

    Raises:
        ConfigError: the scene has no free space.
    """
    rng = Random(f'{scene.seed} {seed} pose')
    near = scene.to('cpu')
    indoors = scene.light.inside[4] > -1e5
    # indoors, cameras look slightly down at objects, sometimes steeply at a desk or a bed
    level = rng.choice((-9.0, -9.0, -9.0, -9.0, -28.0)) if indoors else -3.0
    enough = rng.uniform(0.5, 1.0)  # some images may show little
    best, best_score = None, -1.0
    for position in _free_points(near, rng, 4):
        poses = [
            camera_pose(
                position,
                rng.uniform(-math.pi, math.pi),
                math.radians(rng.gauss(level, 8)),
                math.radians(rng.gauss(0, 2)),
            )
            for _ in range(6)
        ]
        for pose, score in zip(poses, _scores(near, poses), strict=True):
            if score > best_score:
                best, best_score = pose, score
            if score >= enough:
                return pose
    assert best is not None
    return best


def _free_points(scene: Scene, rng: Random, count: int) -> list[tuple[float, float, float]]:
    """Random points in free space."""
    x0, y0, x1, y1 = scene.area
    found: list[tuple[float, float, float]] = []
    for attempt in range(40):
        # in crowded scenes a clearance of 0.25 m has to suffice
        clearance = CLEARANCE if attempt < 30 else 0.25
        points = [
            (rng.uniform(x0, x1), rng.uniform(y0, y1), rng.uniform(LOW, min(HIGH, scene.ceiling)))
            for _ in range(8)
        ]
        free = scene.clearance(torch.tensor(points, dtype=torch.float64)) > clearance
        found += [p for p, ok in zip(points, free.tolist(), strict=True) if ok]
        if len(found) >= count:
            return found[:count]
    if found:
        return found
    raise ConfigError(f'scene {scene.kind} {scene.seed} has no free space for a camera')


def _scores(scene: Scene, poses: list[Tensor]) -> list[float]:
    """Scores of poses, 1 is good: not too near, not only sky, not only one flat surface."""
    x, y = np.meshgrid(np.linspace(-0.65, 0.65, 8), np.linspace(-0.5, 0.5, 6))
    rays = torch.from_numpy(np.stack((x, y, np.ones_like(x)), -1).reshape(-1, 3))
    directions = torch.cat([rays @ pose[:3, :3].T for pose in poses])
    origins = torch.stack([pose[:3, 3] for pose in poses]).repeat_interleave(len(rays), 0)
    depth, index = first_along(scene, origins, directions)
    z, index = depth.view(len(poses), -1), index.view(len(poses), -1).sort(1).values
    objects = 1 + (index.diff(dim=1) > 0).sum(1)
    # indoors, what is seen through a window counts as sky
    far = math.hypot(*scene.light.inside[:2]) * 2 if scene.light.inside[4] > -1e5 else math.inf
    sky = ((z > far) | torch.isinf(z)).double().mean(1)
    sky = 2.5 * sky if far < math.inf else sky
    solid = torch.where(torch.isinf(z), 100.0, z)
    median, nearest = solid.median(1).values, solid.amin(1)
    spread = solid.quantile(0.9, 1) / solid.quantile(0.1, 1)
    parts = (
        (median / 1.8).clamp(max=1)
        * (nearest / 0.4).clamp(max=1)
        * ((1.0 - sky) / 0.55).clamp(0.05, 1)
        * (spread / 2.6).clamp(max=1)
        * (objects / 10).clamp(max=1)
    )
    return [float(p) for p in parts]


def path(scene: Scene, seed: int) -> Callable[[float], Tensor]:
    """A smooth closed trajectory of `LAP_S` seconds through free space.

    Returns:
        Function time [s] -> T_world_camera, (4, 4) float64; at least 0.25 m from all surfaces.
    """
    rng = Random(f'{scene.seed} {seed} path')
    near = scene.to('cpu')
    line = _loop(near, rng)
    pitch = math.radians(rng.uniform(-12, -3))
    best, best_score = _Trajectory(line, pitch, rng), -1.0
    for _ in range(14):  # headings along the same line; the best score wins
        trajectory = _Trajectory(line, pitch, rng)
        score = sum(_scores(near, [trajectory(LAP_S * k / 12) for k in range(12)]))
        if score > best_score:
            best, best_score = trajectory, score
    return best


class _Trajectory:
    """A closed trajectory along `line` with a varying heading."""

    def __init__(self, line: Array, pitch: float, rng: Random) -> None:
        self.line, self.pitch = line, pitch
        self.start, self.turns = rng.uniform(-math.pi, math.pi), rng.choice((-1, 0, 0, 1))
        self.wander = [(rng.uniform(0.15, 0.9) / k, rng.uniform(0, 6.28), k) for k in (1, 2, 3)]

    def __call__(self, time_s: float) -> Tensor:
        """T_world_camera at `time_s`, (4, 4)."""
        s = (time_s / LAP_S) % 1.0
        yaw = self.start + 2 * math.pi * self.turns * s
        yaw += sum(a * math.sin(2 * math.pi * k * s + p) for a, p, k in self.wander)
        pitch = self.pitch + 0.05 * math.sin(6 * math.pi * s + self.wander[0][1])
        roll = 0.015 * math.sin(4 * math.pi * s + self.wander[1][1])
        x, y, z = _evaluate(self.line, np.array([s]))[0]
        return camera_pose((float(x), float(y), float(z)), yaw, pitch, roll)


def _evaluate(line: Array, s: Array) -> Array:
    """Points of a closed curve, a Fourier series with rows mean, cos, sin, cos 2, sin 2, ..."""
    terms = [np.ones_like(s)]
    for k in range(1, (len(line) + 1) // 2):
        terms += [np.cos(2 * np.pi * k * s), np.sin(2 * np.pi * k * s)]
    return np.stack(terms, 1) @ line


def _loop(scene: Scene, rng: Random) -> Array:
    """The longest of some random closed curves in free space."""
    best, length = np.array(_free_points(scene, rng, 1)[:1]), 0.0
    s = np.linspace(0, 1, 97)
    x0, y0, x1, y1 = scene.area
    for attempt in range(120):
        size = 0.5 * 0.97**attempt
        middle = np.array(_free_points(scene, rng, 1)[0])
        line = np.zeros((5, 3))
        line[0] = middle
        reach = np.array([x1 - x0, y1 - y0, 0.4]) * size
        for row, share in ((1, 1.0), (2, 1.0), (3, 0.3), (4, 0.3)):
            line[row] = [rng.gauss(0, 0.5) * r * share for r in reach]
        points = _evaluate(line, s)
        if points[:, 2].min() < LOW or points[:, 2].max() > min(HIGH, scene.ceiling):
            continue
        outside = (points[:, :2] < (x0, y0)) | (points[:, :2] > (x1, y1))
        if outside.any() or float(scene.clearance(torch.from_numpy(points)).min()) < 0.3:
            continue
        far = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
        if 1.0 < far < 45.0 and far > length:
            best, length = line, far
    return best
