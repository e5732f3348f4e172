# SPDX-License-Identifier: Apache-2.0
"""Views of the world: rendered in child processes, kept in a buffer, used several times."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, Full
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import DepthRosError
from depth_ros.sim.world import random_camera, random_pose, random_scene, render_many
from depth_ros.sim.world.seeds import HELD_OUT

CHUNK = 8  #: pictures rendered at once: fewer cost more each, more wait longer
GPU_CHUNK = 32  #: the same on a GPU, which starts many small jobs slowly
CLEAN = 0.2  #: share rendered by a perfect sensor


@dataclass(frozen=True, slots=True)
class Views:
    """N pictures of one size.

    Args:
        rgb: (N, 3, H, W) uint8.
        z: (N, H, W) float16 [m], +Inf where there is sky.
        k: (N, 4) float32, fx fy cx cy [px].
    """

    rgb: Tensor
    z: Tensor
    k: Tensor

    def __len__(self) -> int:
        """How many."""
        return len(self.rgb)


def rendered(
    seeds: list[int], size: tuple[int, int], device: str = 'cpu', sensor: bool = True
) -> Views:
    """One view each of the scenes with these seeds.

    Args:
        seeds: of scene, camera and pose.
        size: (height, width).
        device: where rays are cast.
        sensor: False for a perfect one.
    """
    scenes, poses, cameras = [], [], []
    for seed in seeds:
        scene = random_scene(seed)
        try:
            pose = random_pose(scene, seed)
        except DepthRosError:  # a scene without room for a camera; the others have
            continue
        scenes.append(scene.to(device))
        poses.append(pose)
        cameras.append(random_camera(seed, size[1], size[0]))
    view = render_many(scenes, cameras, poses, sensor=sensor)
    return Views(view.rgb.permute(0, 3, 1, 2), view.z.half(), intrinsics(cameras))


def intrinsics(cameras: list[Camera]) -> Tensor:
    """(N, 4) float32: fx fy cx cy."""
    return torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras])


def held_out(seeds: range, size: tuple[int, int], device: str = 'cpu') -> Iterator[Views]:
    """Views of `seeds` in chunks."""
    for start in range(0, len(seeds), CHUNK):
        yield rendered(list(seeds[start : start + CHUNK]), size, device)


def numbers(start: int, count: int = CHUNK) -> list[int]:
    """Seeds of the chunk from `start` on; they begin again before those held out."""
    return [(start + i) % HELD_OUT for i in range(count)]


def first_of(run: int) -> int:
    """The seed of a run's first scene: those of other runs are far away (golden section)."""
    return run * 6_180_339 % HELD_OUT


def _chunk(device: str) -> int:
    return GPU_CHUNK if device.startswith('cuda') else CHUNK


_Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def _work(queue: Any, first: int, step: int, size: tuple[int, int], device: str) -> None:
    os.nice(1)  # training goes first: it is what the views are for
    torch.set_num_threads(1)
    parent = os.getppid()
    queue.cancel_join_thread()  # or it would wait for a reader that was killed
    chunk = _chunk(device)
    start = first
    while os.getppid() == parent:
        seeds = numbers(start, chunk)
        clean = (start // chunk) % round(1 / CLEAN) == 0
        views = rendered(seeds, size, device, sensor=not clean)
        arrays = views.rgb.cpu().numpy(), views.z.cpu().numpy(), views.k.cpu().numpy()
        _put(queue, arrays, parent)
        start += step * chunk


def _put(queue: Any, arrays: _Arrays, parent: int) -> None:
    while os.getppid() == parent:  # nobody takes them from a trainer that was killed
        try:
            queue.put(arrays, timeout=5)
            return
        except Full:
            continue


class Renderers:
    """Processes that render views of ever new scenes; at most some hundred wait."""

    def __init__(
        self, workers: int, first_seed: int, size: tuple[int, int], device: str = 'cpu'
    ) -> None:
        context = multiprocessing.get_context('spawn')  # CUDA cannot be forked
        self._queue = context.Queue(maxsize=max(8, 2 * workers))
        self._processes = [
            context.Process(
                target=_work,
                args=(self._queue, first_seed + n * _chunk(device), workers, size, device),
                daemon=True,
            )
            for n in range(workers)
        ]
        for process in self._processes:
            process.start()

    def get(self, wait_s: float = 0.0) -> Views | None:
        """The next chunk; None if none is ready within `wait_s`."""
        try:
            arrays: _Arrays = self._queue.get(block=wait_s > 0, timeout=wait_s or None)
        except Empty:
            if not all(p.is_alive() for p in self._processes):
                raise DepthRosError(
                    'a rendering process ended; its message stands above'
                ) from None
            return None
        return Views(*(torch.from_numpy(np.asarray(a)) for a in arrays))

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        self._queue.close()
        self._queue.cancel_join_thread()


class Buffer:
    """The latest views, from which batches are drawn."""

    def __init__(self, capacity: int, size: tuple[int, int], device: torch.device) -> None:
        self.rgb = torch.empty((capacity, 3, *size), dtype=torch.uint8, device=device)
        self.z = torch.empty((capacity, *size), dtype=torch.float16, device=device)
        self.k = torch.empty((capacity, 4), device=device)
        self.seen = 0

    def add(self, views: Views) -> None:
        """Take new views; the oldest make room."""
        where = (torch.arange(len(views)) + self.seen) % len(self.rgb)
        where = where.to(self.rgb.device)
        self.rgb[where] = views.rgb.to(self.rgb.device)
        self.z[where] = views.z.to(self.z.device)
        self.k[where] = views.k.to(self.k.device)
        self.seen += len(views)

    def draw(self, count: int, generator: torch.Generator) -> Views:
        """`count` views, any of them equally likely."""
        held = min(self.seen, len(self.rgb))
        which = torch.randint(held, (count,), generator=generator).to(self.rgb.device)
        return Views(self.rgb[which], self.z[which], self.k[which])
