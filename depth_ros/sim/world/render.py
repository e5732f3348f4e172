# SPDX-License-Identifier: Apache-2.0
"""Pictures of scenes with the exact depth of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError
from depth_ros.sim.world.batch import Batch, Rays
from depth_ros.sim.world.edges import smoothed
from depth_ros.sim.world.lens import directions
from depth_ros.sim.world.lighting import radiance
from depth_ros.sim.world.scene import Scene
from depth_ros.sim.world.sensor import develop
from depth_ros.sim.world.trace import first_hits


@dataclass(frozen=True, slots=True)
class View:
    """A picture, or B of them with B in front of every shape.

    Args:
        rgb: (H, W, 3) uint8.
        z: (H, W) float32 [m], along the optical axis at pixel centres; +Inf where there is sky,
            NaN (and black) where the lens shows nothing.
    """

    rgb: Tensor
    z: Tensor

    @property
    def sky(self) -> Tensor:
        """(H, W) bool, True where nothing is in range."""
        return torch.isinf(self.z)


def render(
    scene: Scene,
    camera: Camera,
    pose: Tensor,
    *,
    seed: int | None = None,
    frame: int = 0,
    sensor: bool = True,
    supersample: int = 1,
) -> View:
    """What a camera sees. See `render_many`; `frame` is the picture's number in a video."""
    view = render_many(
        [scene],
        [camera],
        [pose],
        seeds=[scene.seed if seed is None else seed],
        frames=[frame],
        sensor=sensor,
        supersample=supersample,
    )
    return View(view.rgb[0], view.z[0])


def render_many(
    scenes: Sequence[Scene],
    cameras: Sequence[Camera],
    poses: Sequence[Tensor],
    *,
    seeds: Sequence[int] | None = None,
    frames: Sequence[int] | None = None,
    sensor: bool = True,
    supersample: int = 1,
) -> View:
    """One picture per scene, all at once.

    Args:
        scenes: on one device; the same may occur several times.
        cameras: of one size; intrinsics and lens may differ.
        poses: T_world_camera, (4, 4) each.
        seeds: of the sensors; those of the scenes if None.
        frames: numbers in a video: its noise changes from one to the next, its lens does not.
        sensor: False for a perfect one: no noise, blur, cast, vignetting or compression.
        supersample: colour is the mean of n x n rays; depth always is that of the pixel's centre.

    Returns:
        B views, on the scenes' device.

    Raises:
        CameraError: the cameras differ in size, or there is not one camera and pose a scene.
    """
    counts = [len(scenes), len(cameras), len(poses)]
    if not scenes or len(set(counts)) > 1:
        raise CameraError(f'scenes, cameras and poses are {counts}; render_many takes one of each')
    sizes = {camera.size for camera in cameras}
    if len(sizes) != 1:
        raise CameraError(f'cameras of one batch have one size; these have {sorted(sizes)}')
    device = scenes[0].device
    batch = Batch.of(scenes)
    where = torch.stack([p.to(device, torch.float64) for p in poses])
    rays = _rays(cameras, where)
    hits = first_hits(batch, rays)
    shown = torch.stack([_grid(camera, str(device))[2] for camera in cameras])  # (B, H, W)
    z = torch.where(shown, rays.pictures(hits.z).float(), torch.nan)
    fx = torch.tensor([c.fx * supersample for c in cameras], device=device)
    if supersample > 1:
        finer = [c.resized(c.width * supersample, c.height * supersample) for c in cameras]
        rays = _rays(finer, where)
        hits = first_hits(batch, rays)
    light = radiance(batch, rays, hits, [s.light for s in scenes], fx)
    light = smoothed(light, batch, rays, hits, fx)
    if supersample > 1:
        light = F.avg_pool2d(light, supersample)
    light = light * shown[:, None]
    if not sensor:
        return View(develop(light, None, []), z)
    numbers = [s.seed for s in scenes] if seeds is None else list(seeds)
    return View(develop(light, numbers, list(frames or [0] * len(scenes))), z)


def _rays(cameras: Sequence[Camera], poses: Tensor) -> Rays:
    x, y, _ = zip(*(_grid(camera, str(poses.device)) for camera in cameras), strict=True)
    return Rays.of(torch.stack(x), torch.stack(y), poses)


@lru_cache(maxsize=64)
def _grid(camera: Camera, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """`lens.directions` there: x and y, (H, W) float64, 0 where it has none; (H, W) bool of it."""
    x, y = (torch.from_numpy(part.copy()).to(device) for part in directions(camera))
    return x.nan_to_num(), y.nan_to_num(), x.isfinite()


def looking(
    position: tuple[float, float, float], yaw: float, pitch: float = 0.0, roll: float = 0.0
) -> Tensor:
    """T_world_camera of an optical frame, (4, 4) float64.

    Args:
        position: x, y, z in the world [m].
        yaw: heading, 0 along +x, left is positive [rad].
        pitch: up is positive [rad].
        roll: clockwise as the camera sees itself [rad].
    """
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    forward = np.array([cy * cp, sy * cp, sp])
    right, down = np.array([sy, -cy, 0.0]), np.array([cy * sp, sy * sp, -cp])
    pose = np.eye(4)
    pose[:3, :3] = np.stack((cr * right + sr * down, cr * down - sr * right, forward), 1)
    pose[:3, 3] = position
    return torch.from_numpy(pose)
