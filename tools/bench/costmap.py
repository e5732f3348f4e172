# SPDX-License-Identifier: Apache-2.0
"""When the cells of a costmap are free again after a person has left them.

A robot's camera looks along a lane between two walls, with the sky at its end. A person stands
there and leaves through a door. The costmap is not Nav2's own: `VoxelLayer` follows the rules of
nav2_costmap_2d's voxel layer and observation buffer, restated in numpy, with the parameters of
config/nav2.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from depth_ros.core import encode
from depth_ros.core.camera import Camera
from depth_ros.core.types import DepthMap, Frame, Kind, Prediction
from depth_ros.parameters.layers import with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.filters.free_space import ray_ends

CONFIG = Path(__file__).resolve().parents[2] / 'config' / 'nav2.yaml'
RESOLUTION = 0.05  #: of Nav2's local costmap [m]
CAMERA = Camera(640, 480, 560.0, 560.0, 319.5, 239.5)
HEIGHT, STRIDE = 1.2, 4  #: of the camera [m]; of the clouds
HALF_WIDTH, WALL_HEIGHT = 1.2, 3.0  #: of the lane [m]
PERSON = (3.0, 0.25, 1.8)  #: distance, half width and height [m]
DOOR = 0.45  #: half width [m], in the left wall beside the person
MARGIN = 0.3  #: a cell this near to the person or a wall is marked rightly [m]
PERIOD_S, SPEED = 0.1, 1.5  #: between two frames; of the person [m/s]
STANDS, LEAVES, AFTER = 8, 12, 20  #: frames with the person, with them walking, and without them
JITTER, BLUR_PX = 0.03, 1.5  #: of the scale from frame to frame, and of the edges
FILTERS = {'filters.edges': 0.006, 'filters.temporal': 0.6}
#: what clears -> topic, and whether rays to points of every height clear
WAYS = {
    'points, one source within the height limits': ('points', False),
    'points, a source without height limits': ('points', True),
    'points_clearing (config/nav2.yaml)': ('points_clearing', True),
}

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Walk:
    """Maps of one run, (columns ahead, rows to the left) bool of marked cells.

    Args:
        standing: at the last frame in which the person stands.
        left: `AFTER` frames after they have gone.
        counts: marked cells of the lane by frame, without those near the walls.
    """

    standing: Array
    left: Array
    counts: list[int]


def rows() -> Iterator[dict[str, Any]]:
    """A row for each way to clear, each without and with filters."""
    for way in WAYS:
        for filters in ({}, FILTERS):
            counts = walk(way, filters).counts
            after = counts[-AFTER:]
            free = next((n for n in range(AFTER) if not any(after[n:])), None)
            yield {
                'clearing': way,
                'filters': bool(filters),
                'marked': max(counts[:STANDS]),
                'frames_until_free': None if free is None else free + 1,
                'left': after[-1],
            }


def walk(way: str, filters: dict[str, float]) -> Walk:
    """Let the person stand, leave and be gone.

    Args:
        way: of `WAYS`.
        filters: parameters.
    """
    topic, every_height = WAYS[way]
    layer = yaml.safe_load(CONFIG.read_text())['local_costmap']['local_costmap']['ros__parameters']
    costmap = VoxelLayer(layer, every_height)
    settings = with_values(Settings(), {'range.max': 40.0, **filters})
    chain, rng = Filters(), np.random.default_rng(0)
    counts, standing = [], costmap.lethal
    for k in range(STANDS + LEAVES + AFTER):
        there = k < STANDS + LEAVES
        rgb, true = view(max(0, k - STANDS + 1) * SPEED * PERIOD_S if there else None)
        inverse = cv2.GaussianBlur(np.where(np.isfinite(true), 1 / true, 0), (0, 0), BLUR_PX)
        with np.errstate(divide='ignore'):
            blurred = np.where(np.isfinite(true), 1 / inverse, np.inf)  # the network knows the sky
        noisy = torch.from_numpy(np.float32(blurred * np.exp(rng.normal(0, JITTER))))
        sky = torch.from_numpy(~np.isfinite(true))
        prediction = Prediction(noisy, Kind.METRIC, sky=sky)
        frame = Frame(torch.from_numpy(rgb), CAMERA, round(k * PERIOD_S * 1e9))
        z, free_z = chain(noisy, prediction, frame, settings)
        depth = DepthMap(z, CAMERA, frame.rgb, free_z=free_z)
        costmap.update(*(in_world(cloud) for cloud in clouds(depth, topic)))
        counts.append(int((costmap.lethal & in_lane(costmap)).sum()))
        if k == STANDS - 1:
            standing = costmap.lethal.copy()
    return Walk(standing, costmap.lethal, counts)


def in_lane(costmap: VoxelLayer) -> Array:
    """The cells of the lane, without those near its walls."""
    _, y = costmap.centres()
    return np.broadcast_to(abs(y) < HALF_WIDTH - MARGIN, costmap.lethal.shape)


def clouds(depth: DepthMap, topic: str) -> tuple[Array, Array]:
    """Points (N, 3) that mark and that clear, in the optical frame."""
    ends = depth
    if topic == 'points_clearing':
        length = Settings().points.clearing_range
        assert depth.free_z is not None
        ends = replace(depth, z=ray_ends(depth.free_z, depth.camera, length))
    marking, clearing = (
        encode.dense(encode.cloud(each, STRIDE, False)).numpy()[:, :3] for each in (depth, ends)
    )
    return marking, clearing


def in_world(points: Array) -> Array:
    """From the optical frame to x ahead, y left, z up from the floor."""
    return np.stack((points[:, 2], -points[:, 0], HEIGHT - points[:, 1]), 1)


def view(person_y: float | None) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Image and depth of the lane, with a person at `person_y` to the left if there is one."""
    v, u = np.indices(CAMERA.size)
    right, down = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    with np.errstate(divide='ignore', invalid='ignore'):
        z = np.where(down > 0, HEIGHT / down, np.inf)
        wall = HALF_WIDTH / abs(right)
        door = (right < 0) & (abs(wall - PERSON[0]) < DOOR)
        z = np.where(HEIGHT - down * wall < WALL_HEIGHT, np.minimum(z, np.where(door, z, wall)), z)
        surface = np.where(z == wall, 1, 0)
    if person_y is not None:
        distance, half, tall = PERSON
        x, height = -right * distance - person_y, HEIGHT - down * distance
        hit = (abs(x) < half) & (height < tall) & (height > 0) & (distance < z)
        z, surface = np.where(hit, distance, z), np.where(hit, 2, surface)
    near = np.where(np.isfinite(z), z, 0)
    # a pattern on each surface, for the motion of the camera
    a, b = right * near * 7 + surface, np.where(surface == 0, near * 5, down * near * 9)
    waves = np.sin(a) * np.cos(b) + 0.5 * np.sin(2.7 * b + a)
    brightness = np.where(np.isfinite(z), 110 + 25 * surface + 40 * waves, 230)
    rgb = np.repeat(np.clip(brightness, 0, 255).astype(np.uint8)[..., None], 3, 2)
    return rgb, np.asarray(z, np.float32)


class VoxelLayer:
    """The voxel layer by its rules: first all rays clear, then all points mark.

    Args:
        parameters: of the costmap, as in config/nav2.yaml.
        every_height: rays clear to points of every height; else to those between the limits of
            the marking source, as with one source for both.
    """

    def __init__(self, parameters: dict[str, Any], every_height: bool = True) -> None:
        layer = parameters['voxel_layer']
        names = layer['observation_sources'].split()
        (self._marking,) = (layer[n] for n in names if layer[n]['marking'])
        (self._clearing,) = (layer[n] for n in names if layer[n]['clearing'])
        if not every_height:
            limits = ('min_obstacle_height', 'max_obstacle_height')
            self._clearing = {**self._clearing, **{k: self._marking[k] for k in limits}}
        self._layer = layer
        self._cell = np.array([RESOLUTION, RESOLUTION, layer['z_resolution']])
        size = parameters['width'], parameters['height']
        self._origin = np.array([-size[0] / 2, -size[1] / 2, layer['origin_z']])
        shape = *(round(side / RESOLUTION) for side in size), layer['z_voxels']
        self.voxels = np.zeros(shape, bool)
        self.lethal = np.zeros(shape[:2], bool)

    def update(self, marking: Array, clearing: Array) -> None:
        """Take clouds of points (N, 3) [m]; the sensor is at the origin, `HEIGHT` above it."""
        self._clear(_between_heights(clearing, self._clearing))
        self._mark(_between_heights(marking, self._marking))

    def centres(self) -> tuple[Array, Array]:
        """Of the cells [m]: ahead (n, 1) and to the left (m,)."""
        x, y = (
            origin + (np.arange(count) + 0.5) * RESOLUTION
            for origin, count in zip(self._origin, self.lethal.shape, strict=False)
        )
        return x[:, None], y

    def _clear(self, points: Array) -> None:
        sensor = np.array([0.0, 0.0, HEIGHT])
        rays = points - sensor
        length = np.linalg.norm(rays, axis=1, keepdims=True)
        rays = rays * np.clip((length - 2 * RESOLUTION) / np.maximum(length, 1e-9), 0, 1)
        # to where they leave the map, as Nav2 states its size
        low, high = self._origin, self._origin + self._cell * (np.array(self.voxels.shape) - 0.5)
        bounds = np.where(rays > 0, high - (0, 0, 0.01), low) - sensor
        share = np.divide(bounds, rays, out=np.ones_like(rays), where=rays != 0)
        ends = sensor + rays * share.min(1, initial=1.0, keepdims=True)
        # Bresenham's lines from voxel to voxel, not beyond the range of the source
        start, end = (((p - self._origin) / self._cell).astype(int) for p in (sensor, ends))
        steps = np.abs(end - start)
        count = steps.max(1)
        reach = self._clearing['raytrace_max_range'] / RESOLUTION
        distance = np.linalg.norm((ends - sensor) / self._cell, axis=1)
        last = (np.minimum(1, reach / np.maximum(distance, 1e-9)) * count).astype(int)
        free = np.zeros_like(self.voxels)
        for k in range(last.max(initial=-1) + 1):
            n, moved = count[last >= k, None], steps[last >= k]
            moved = (n // 2 + k * moved) // np.maximum(n, 1)
            x, y, z = (start + np.sign(end[last >= k] - start) * moved).T
            inside = (x < free.shape[0]) & (y < free.shape[1]) & (z < free.shape[2])
            inside &= (x >= 0) & (y >= 0) & (z >= 0)
            free[x[inside], y[inside], z[inside]] = True
        self.voxels &= ~free
        passed = free.any(2)
        few = self.voxels.sum(2) <= self._layer['mark_threshold']
        self.lethal &= ~(passed & few)

    def _mark(self, points: Array) -> None:
        distance = np.linalg.norm(points - (0.0, 0.0, HEIGHT), axis=1)
        source = self._marking
        near = (distance >= source['obstacle_min_range']) & (
            distance < source['obstacle_max_range']
        )
        near &= points[:, 2] <= self._layer['max_obstacle_height']
        cells = np.floor((points[near] - self._origin) / self._cell).astype(int)
        inside = ((cells >= 0) & (cells < self.voxels.shape)).all(1)
        x, y, z = cells[inside].T
        self.voxels[x, y, z] = True
        many = self.voxels.sum(2) > self._layer['mark_threshold']
        self.lethal[x, y] |= many[x, y]


def _between_heights(points: Array, source: dict[str, Any]) -> Array:
    """What the observation buffer keeps."""
    z = points[:, 2]
    return points[(z >= source['min_obstacle_height']) & (z <= source['max_obstacle_height'])]
