# SPDX-License-Identifier: Apache-2.0
"""Render images of scenes with exact depth of every pixel."""

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
from depth_ros.sim.world.distortion import ray_directions
from depth_ros.sim.world.edges import antialias
from depth_ros.sim.world.lighting import radiance
from depth_ros.sim.world.scene import Scene
from depth_ros.sim.world.sensor import develop
from depth_ros.sim.world.trace import first_hits


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """A rendered image, or B of them with B as first dimension.

    Args:
        rgb: (H, W, 3) uint8.
        z: (H, W) float32, depth along the optical axis at pixel centres [m]; +Inf for sky, NaN
            (and black) outside of the image circle of the lens.
    """

    rgb: Tensor
    z: Tensor

    @property
    def sky(self) -> Tensor:
        """(H, W) bool, True for sky."""
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
) -> RenderedImage:
    """Render one image. See `render_many`; `frame` is the number of the image in a video."""
    view = render_many(
        [scene],
        [camera],
        [pose],
        seeds=[scene.seed if seed is None else seed],
        frames=[frame],
        sensor=sensor,
        supersample=supersample,
    )
    return RenderedImage(view.rgb[0], view.z[0])


def render_many(
    scenes: Sequence[Scene],
    cameras: Sequence[Camera],
    poses: Sequence[Tensor],
    *,
    seeds: Sequence[int] | None = None,
    frames: Sequence[int] | None = None,
    sensor: bool = True,
    supersample: int = 1,
) -> RenderedImage:
    """Render one image of each scene as a batch.

    Args:
        scenes: on one device; a scene may occur several times.
        cameras: of one size; intrinsics and distortion may differ.
        poses: T_world_camera, (4, 4) each.
        seeds: of the sensors; those of the scenes if None.
        frames: numbers in a video, which change the noise but not other effects of the sensor.
        sensor: False for no noise, blur, colour cast, vignetting or compression.
        supersample: colour is the mean of n x n rays; depth is always that of the pixel centre.

    Returns:
        B images, on the device of the scenes.

    Raises:
        CameraError: the cameras differ in size, or the numbers of scenes, cameras and poses do.
    """
    counts = [len(scenes), len(cameras), len(poses)]
    if not scenes or len(set(counts)) > 1:
        raise CameraError(f'scenes, cameras and poses are {counts}; render_many takes one of each')
    sizes = {camera.size for camera in cameras}
    if len(sizes) != 1:
        raise CameraError(f'cameras of one batch have one size; these have {sorted(sizes)}')
    device = scenes[0].device
    batch = Batch.of(scenes)
    stacked = torch.stack([p.to(device, torch.float64) for p in poses])
    rays = _rays(cameras, stacked)
    hits = first_hits(batch, rays)
    visible = torch.stack([_grid(camera, str(device))[2] for camera in cameras])  # (B, H, W)
    z = torch.where(visible, rays.to_images(hits.z).float(), torch.nan)
    fx = torch.tensor([c.fx * supersample for c in cameras], device=device)
    if supersample > 1:
        finer = [c.resized(c.width * supersample, c.height * supersample) for c in cameras]
        rays = _rays(finer, stacked)
        hits = first_hits(batch, rays)
    light = radiance(batch, rays, hits, [s.light for s in scenes], fx)
    light = antialias(light, batch, rays, hits, fx)
    if supersample > 1:
        light = F.avg_pool2d(light, supersample)
    light = light * visible[:, None]
    if not sensor:
        return RenderedImage(develop(light, None, []), z)
    sensors = [s.seed for s in scenes] if seeds is None else list(seeds)
    return RenderedImage(develop(light, sensors, list(frames or [0] * len(scenes))), z)


def _rays(cameras: Sequence[Camera], poses: Tensor) -> Rays:
    x, y, _ = zip(*(_grid(camera, str(poses.device)) for camera in cameras), strict=True)
    return Rays.of(torch.stack(x), torch.stack(y), poses)


@lru_cache(maxsize=64)
def _grid(camera: Camera, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """`ray_directions`: x and y, (H, W) float64, with NaN set to 0; (H, W) bool, not NaN."""
    x, y = (torch.from_numpy(part.copy()).to(device) for part in ray_directions(camera))
    return x.nan_to_num(), y.nan_to_num(), x.isfinite()


def camera_pose(
    position: tuple[float, float, float], yaw: float, pitch: float = 0.0, roll: float = 0.0
) -> Tensor:
    """T_world_camera of an optical frame, (4, 4) float64.

    Args:
        position: x, y, z in the world frame [m].
        yaw: heading, 0 along +x, positive to the left [rad].
        pitch: positive upwards [rad].
        roll: positive clockwise, seen from behind the camera [rad].
    """
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    forward = np.array([cy * cp, sy * cp, sp])
    right, down = np.array([sy, -cy, 0.0]), np.array([cy * sp, sy * sp, -cp])
    pose = np.eye(4)
    pose[:3, :3] = np.stack((cr * right + sr * down, cr * down - sr * right, forward), 1)
    pose[:3, 3] = position
    return torch.from_numpy(pose)
