# SPDX-License-Identifier: Apache-2.0
"""Image sequences with exact depth, along a trajectory through a scene; cached on disk.

Rendering is slower than the rate of a camera, so the camera plays a sequence rendered before.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from depth_ros.checkpoints.cache import cache_directory
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.sim import world
from depth_ros.sim.world.layouts import LAYOUTS
from depth_ros.sim.world.scene import check_seed
from depth_ros.sim.world.seeds import TEST

log = logging.getLogger(__name__)

CHUNK = 8  #: images rendered at once
STEP_S = 1 / 15  #: mean time between two images along the trajectory [s]
MAX_SIDE = 8192  #: of an image [px]
MAX_GB = 8  #: size of a sequence
DISTORTION = (-0.2, 0.03, 5e-4, -3e-4, 0.0)  #: plumb_bob, for image corners at 45 degrees

Bytes = NDArray[np.uint8]
Depth = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SequenceSettings:
    """Settings of a sequence; equal settings give equal sequences.

    Args:
        seed: of scene, trajectory and sensor; the default was not used for training.
        kind: kind of scene, a key of `layouts.LAYOUTS`.
        width: columns [px].
        height: rows [px].
        hfov_deg: horizontal field of view without distortion [deg].
        distortion: give the camera a lens with distortion.
        frames: number of images.

    Raises:
        ConfigError: a value is invalid.
    """

    seed: int = TEST + 602
    kind: str = 'warehouse'
    width: int = 320
    height: int = 240
    hfov_deg: float = 70.0
    distortion: bool = False
    frames: int = 90

    def __post_init__(self) -> None:
        """Check all values; see Raises of the class."""
        for name in ('width', 'height', 'hfov_deg', 'frames'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'{name} is {getattr(self, name)}; it must be positive')
        for name in ('width', 'height'):
            if getattr(self, name) > MAX_SIDE:
                raise ConfigError(f'{name} is {getattr(self, name)}; the maximum is {MAX_SIDE}')
        size_gb = self.frames * self.width * self.height * 7 / 1e9  # colours and depth
        if size_gb > MAX_GB:
            raise ConfigError(
                f'frames is {self.frames}: of {self.width}x{self.height} they take {size_gb:.0f} '
                f'GB; the maximum is {MAX_GB}'
            )
        check_seed(self.seed)
        if self.hfov_deg > 150:
            raise ConfigError(f'hfov_deg is {self.hfov_deg:g}; the maximum is 150')
        if self.kind not in LAYOUTS:
            raise ConfigError(f'kind is {self.kind!r}; choose one of {list(LAYOUTS)}')

    @property
    def camera(self) -> Camera:
        """Camera with square pixels and a central principal point."""
        focal = self.width / 2 / math.tan(math.radians(self.hfov_deg) / 2)
        middle = (self.width - 1) / 2, (self.height - 1) / 2
        if not self.distortion:
            return Camera(self.width, self.height, focal, focal, *middle)
        # scaled with the field of view, so that the distortion in the corners is always the same
        corner = max(1.0, (self.width**2 + self.height**2) / (2 * focal) ** 2)
        k1, k2, p1, p2, k3 = DISTORTION
        coefficients = (k1 / corner, k2 / corner**2, p1 / corner, p2 / corner, k3)
        return Camera(self.width, self.height, focal, focal, *middle, 'plumb_bob', coefficients)

    def __str__(self) -> str:
        """Kind and seed of the scene, and the image size."""
        return f'{self.kind} {self.seed}, {self.width}x{self.height}'


@dataclass(frozen=True, slots=True)
class ImageSequence:
    """N images with depth.

    Args:
        rgb: (N, H, W, 3) uint8.
        depth: (N, H, W) float32, exact Z [m] for the camera without distortion, +Inf for sky.
    """

    rgb: Bytes
    depth: Depth

    def index(self, step: int) -> int:
        """Index of the image at `step` when playing forwards and backwards in turn."""
        last = len(self.rgb) - 1
        step %= max(1, 2 * last)
        return min(step, 2 * last - step)


def render_sequence(
    settings: SequenceSettings, on_progress: Callable[[int], None] = lambda done: None
) -> ImageSequence:
    """Load a sequence from the cache, or render it in child processes and cache it.

    Args:
        settings: of the sequence.
        on_progress: called repeatedly with the number of images rendered so far.
    """
    folder = cache_directory() / 'sequences'
    stem = '-'.join(str(getattr(settings, name)) for name in SequenceSettings.__slots__)
    path = folder / f'{stem}-{_source_hash()}'
    with contextlib.suppress(OSError, ValueError, EOFError):  # missing or truncated
        arrays = (np.load(path / f'{n}.npy', mmap_mode='r') for n in ImageSequence.__slots__)
        sequence = ImageSequence(*arrays)
        if len(sequence.rgb) == len(sequence.depth) == settings.frames:
            return sequence
    sequence = _render_all(settings, on_progress)
    try:
        for old in folder.glob(f'{stem}-*'):  # damaged, or rendered by an earlier version
            shutil.rmtree(old)
        folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder))
        try:
            for name in ImageSequence.__slots__:
                np.save(new / f'{name}.npy', getattr(sequence, name))
            new.rename(path)  # atomic
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        log.warning('the rendered images of %s cannot be cached: %s', settings, error)
    return sequence


@lru_cache(maxsize=1)
def _source_hash() -> str:
    """Hash of the source of the renderer, as a change may alter the images."""
    sources = [Path(__file__), *sorted(Path(world.__file__).parent.rglob('*.py'))]
    return hashlib.sha256(b''.join(p.read_bytes() for p in sources)).hexdigest()[:12]


def _render_all(settings: SequenceSettings, on_progress: Callable[[int], None]) -> ImageSequence:
    sequence = ImageSequence(
        np.empty((settings.frames, settings.height, settings.width, 3), np.uint8),
        np.empty((settings.frames, settings.height, settings.width), np.float32),
    )
    chunks = [range(n, min(n + CHUNK, settings.frames)) for n in range(0, settings.frames, CHUNK)]
    jobs = [(settings, chunk) for chunk in chunks]
    workers = min(len(chunks) // 4, os.cpu_count() or 1)  # each takes seconds to start
    with contextlib.ExitStack() as stack:
        results: Iterator[tuple[Bytes, Depth]] = map(_render, jobs)
        if workers > 1:
            # spawn, as forks of a process with threads, such as those of DDS, may hang
            context = multiprocessing.get_context('spawn')
            pool = stack.enter_context(context.Pool(workers, _ignore_sigint))
            results = pool.imap(_render, jobs)
        on_progress(0)
        for chunk, (rgb, depth) in zip(chunks, results, strict=True):
            sequence.rgb[chunk], sequence.depth[chunk] = rgb, depth
            on_progress(chunk.stop)
    return sequence


def _ignore_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends the workers


def _render(job: tuple[SequenceSettings, range]) -> tuple[Bytes, Depth]:
    settings, chunk = job
    torch.set_num_threads(1)  # one process per core, and a reproducible order of sums
    scene = world.random_scene(settings.seed, settings.kind)
    trajectory = world.path(scene, settings.seed)
    # slower towards both ends, where playback reverses
    fractions = [(1 - math.cos(math.pi * n / max(1, settings.frames - 1))) / 2 for n in chunk]
    poses = [trajectory(f * STEP_S * (settings.frames - 1)) for f in fractions]
    scenes, camera = [scene] * len(chunk), settings.camera
    images = world.render_many(scenes, [camera] * len(chunk), poses, frames=chunk)
    depth = images.z
    if camera.is_distorted:
        undistorted = [camera.undistorted()] * len(chunk)
        depth = world.render_many(scenes, undistorted, poses, sensor=False).z
    return images.rgb.numpy(), depth.numpy()
