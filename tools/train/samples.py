# SPDX-License-Identifier: Apache-2.0
"""Training samples: images rendered in child processes, buffered and used several times."""

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
from depth_ros.sim.world import posed_scenes, random_camera, render_many
from depth_ros.sim.world.seeds import HELD_OUT

CHUNK = 8  #: images per batch of the renderer, a compromise of speed and latency
GPU_CHUNK = 32  #: likewise on a GPU, where small batches are inefficient
CLEAN = 0.2  #: fraction of images without effects of the sensor


@dataclass(frozen=True, slots=True)
class Samples:
    """N images of one size with depth and intrinsics.

    Args:
        rgb: (N, 3, H, W) uint8.
        z: (N, H, W) float16 [m], +Inf for sky.
        k: (N, 4) float32, fx fy cx cy [px].
    """

    rgb: Tensor
    z: Tensor
    k: Tensor

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rgb)


def render_samples(
    seeds: list[int], size: tuple[int, int], device: str = 'cpu', sensor: bool = True
) -> Samples:
    """Render one image of each scene.

    Args:
        seeds: of scenes, cameras and poses.
        size: (height, width) [px].
        device: of the renderer.
        sensor: False for images without effects of the sensor.
    """
    scenes, poses, cameras = [], [], []
    for seed, scene, pose in posed_scenes(seeds):
        scenes.append(scene.to(device))
        poses.append(pose)
        cameras.append(random_camera(seed, size[1], size[0]))
    images = render_many(scenes, cameras, poses, sensor=sensor)
    return Samples(images.rgb.permute(0, 3, 1, 2), images.z.half(), intrinsics(cameras))


def intrinsics(cameras: list[Camera]) -> Tensor:
    """Intrinsics of cameras as (N, 4) float32: fx fy cx cy [px]."""
    return torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras])


def held_out_samples(
    seeds: range, size: tuple[int, int], device: str = 'cpu'
) -> Iterator[Samples]:
    """Render the scenes of `seeds` in chunks."""
    for start in range(0, len(seeds), CHUNK):
        yield render_samples(list(seeds[start : start + CHUNK]), size, device)


def chunk_seeds(start: int, count: int = CHUNK) -> list[int]:
    """Seeds of the chunk from `start` on; they wrap around before the held-out ones."""
    return [(start + i) % HELD_OUT for i in range(count)]


def first_seed(run: int) -> int:
    """First seed of a run; those of other runs are far apart (golden section)."""
    return run * 6_180_339 % HELD_OUT


def _chunk(device: str) -> int:
    return GPU_CHUNK if device.startswith('cuda') else CHUNK


_Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def _work(queue: Any, first: int, step: int, size: tuple[int, int], device: str) -> None:
    os.nice(1)  # the training process has priority
    torch.set_num_threads(1)
    parent = os.getppid()
    queue.cancel_join_thread()  # otherwise it would wait for a reader that was killed
    chunk = _chunk(device)
    start = first
    while os.getppid() == parent:
        seeds = chunk_seeds(start, chunk)
        clean = (start // chunk) % round(1 / CLEAN) == 0
        samples = render_samples(seeds, size, device, sensor=not clean)
        arrays = samples.rgb.cpu().numpy(), samples.z.cpu().numpy(), samples.k.cpu().numpy()
        _put(queue, arrays, parent)
        start += step * chunk


def _put(queue: Any, arrays: _Arrays, parent: int) -> None:
    while os.getppid() == parent:  # stop if the trainer was killed
        try:
            queue.put(arrays, timeout=5)
            return
        except Full:
            continue


class Renderers:
    """Processes that render samples of new scenes into a queue of some hundred.

    Args:
        workers: number of processes.
        first_seed: seed of the first scene; seeds count up from it, without the held-out ones.
        size: (height, width) of the images [px].
        device: of the renderer.
    """

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

    def get(self, wait_s: float = 0.0) -> Samples | None:
        """The next chunk; None if none is ready within `wait_s`."""
        try:
            arrays: _Arrays = self._queue.get(block=wait_s > 0, timeout=wait_s or None)
        except Empty:
            if not all(p.is_alive() for p in self._processes):
                raise DepthRosError('a rendering process ended; see its message above') from None
            return None
        return Samples(*(torch.from_numpy(np.asarray(a)) for a in arrays))

    def close(self) -> None:
        """Terminate the processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        self._queue.close()
        self._queue.cancel_join_thread()


class Buffer:
    """Ring buffer of the latest samples.

    Args:
        capacity: maximum number of samples.
        size: (height, width) of the images [px].
        device: of the tensors.

    Attributes:
        added: number of samples added in total.
    """

    def __init__(self, capacity: int, size: tuple[int, int], device: torch.device) -> None:
        self.rgb = torch.empty((capacity, 3, *size), dtype=torch.uint8, device=device)
        self.z = torch.empty((capacity, *size), dtype=torch.float16, device=device)
        self.k = torch.empty((capacity, 4), device=device)
        self.added = 0

    def add(self, samples: Samples) -> None:
        """Add samples; they replace the oldest ones."""
        index = (torch.arange(len(samples)) + self.added) % len(self.rgb)
        index = index.to(self.rgb.device)
        self.rgb[index] = samples.rgb.to(self.rgb.device)
        self.z[index] = samples.z.to(self.z.device)
        self.k[index] = samples.k.to(self.k.device)
        self.added += len(samples)

    def draw(self, count: int, generator: torch.Generator) -> Samples:
        """Draw `count` samples at random, with replacement."""
        stored = min(self.added, len(self.rgb))
        index = torch.randint(stored, (count,), generator=generator).to(self.rgb.device)
        return Samples(self.rgb[index], self.z[index], self.k[index])
