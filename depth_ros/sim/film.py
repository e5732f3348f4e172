# SPDX-License-Identifier: Apache-2.0
"""Views along a walk through a scene of the world, with exact depth: rendered once, kept on disk.

A picture takes longer to render than a camera takes between two, so a camera plays a film.
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

from depth_ros.checkpoints.download import cache_directory
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.sim import world
from depth_ros.sim.world.layouts import LAYOUTS
from depth_ros.sim.world.scene import check_seed
from depth_ros.sim.world.seeds import TEST

log = logging.getLogger(__name__)

CHUNK = 8  #: views rendered at once
STEP_S = 1 / 15  #: of the walk between two views, in the mean
LARGEST = 8192  #: side of a picture [px]
LARGEST_GB = 8  #: a film
LENS = (-0.2, 0.03, 5e-4, -3e-4, 0.0)  #: plumb_bob, of a picture whose corner is at 45 degrees

Picture = NDArray[np.uint8]
Depth = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Take:
    """What is filmed; the same gives the same film.

    Args:
        seed: of the scene, the walk and the camera's sensor; by default one never trained on.
        kind: of scene, a key of `layouts.LAYOUTS`.
        width: columns [px].
        height: rows [px].
        hfov_deg: horizontal field of view; it makes the focal length [deg].
        distortion: whether the lens bends straight lines.
        frames: how many views.

    Raises:
        ConfigError: a value that cannot work.
    """

    seed: int = TEST + 602
    kind: str = 'warehouse'
    width: int = 320
    height: int = 240
    hfov_deg: float = 70.0
    distortion: bool = False
    frames: int = 90

    def __post_init__(self) -> None:
        """Refuse what cannot be filmed."""
        for name in ('width', 'height', 'hfov_deg', 'frames'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'{name} is {getattr(self, name)}; it must be positive')
        for name in ('width', 'height'):
            if getattr(self, name) > LARGEST:
                raise ConfigError(f'{name} is {getattr(self, name)}; the most is {LARGEST}')
        size_gb = self.frames * self.width * self.height * 7 / 1e9  # colours and depth
        if size_gb > LARGEST_GB:
            raise ConfigError(
                f'frames is {self.frames}: of {self.width}x{self.height} they take {size_gb:.0f} '
                f'GB; the most is {LARGEST_GB}'
            )
        check_seed(self.seed)
        if self.hfov_deg > 150:
            raise ConfigError(f'hfov_deg is {self.hfov_deg:g}; the most is 150')
        if self.kind not in LAYOUTS:
            raise ConfigError(f'kind is {self.kind!r}; choose one of {list(LAYOUTS)}')

    @property
    def camera(self) -> Camera:
        """Square pixels, the principal point in the middle."""
        focal = self.width / 2 / math.tan(math.radians(self.hfov_deg) / 2)
        middle = (self.width - 1) / 2, (self.height - 1) / 2
        if not self.distortion:
            return Camera(self.width, self.height, focal, focal, *middle)
        # wider ones bend less: in the corners all are bent alike
        corner = max(1.0, (self.width**2 + self.height**2) / (2 * focal) ** 2)
        k1, k2, p1, p2, k3 = LENS
        bend = (k1 / corner, k2 / corner**2, p1 / corner, p2 / corner, k3)
        return Camera(self.width, self.height, focal, focal, *middle, 'plumb_bob', bend)

    def __str__(self) -> str:
        """Name of the scene, and the size."""
        return f'{self.kind} {self.seed}, {self.width}x{self.height}'


@dataclass(frozen=True, slots=True)
class Film:
    """N views.

    Args:
        rgb: (N, H, W, 3) uint8.
        depth: (N, H, W) float32, exact Z [m] of the camera without its distortion, +Inf sky.
    """

    rgb: Picture
    depth: Depth

    def at(self, step: int) -> int:
        """The view to show at `step`, there and back without end."""
        last = len(self.rgb) - 1
        step %= max(1, 2 * last)
        return min(step, 2 * last - step)


def shoot(take: Take, show: Callable[[int], None] = lambda done: None) -> Film:
    """The film of `take`, from the cache or rendered by processes of its own.

    Args:
        take: what to film.
        show: told how many views are rendered, now and then.
    """
    folder = cache_directory() / 'films'
    stem = '-'.join(str(getattr(take, name)) for name in Take.__slots__)
    path = folder / f'{stem}-{_edition()}'
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or cut short
        film = Film(*(np.load(path / f'{n}.npy', mmap_mode='r') for n in Film.__slots__))
        if len(film.rgb) == len(film.depth) == take.frames:
            return film
    film = _rendered(take, show)
    try:
        for old in folder.glob(f'{stem}-*'):  # broken, or of an earlier edition of the world
            shutil.rmtree(old)
        folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder))
        try:
            for name in Film.__slots__:
                np.save(new / f'{name}.npy', getattr(film, name))
            new.rename(path)  # whole or not at all
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        log.warning('the film of %s is not kept for the next time: %s', take, error)
    return film


@lru_cache(maxsize=1)
def _edition() -> str:
    """Another one as soon as scenes may look different."""
    sources = [Path(__file__), *sorted(Path(world.__file__).parent.rglob('*.py'))]
    return hashlib.sha256(b''.join(p.read_bytes() for p in sources)).hexdigest()[:12]


def _rendered(take: Take, show: Callable[[int], None]) -> Film:
    film = Film(
        np.empty((take.frames, take.height, take.width, 3), np.uint8),
        np.empty((take.frames, take.height, take.width), np.float32),
    )
    chunks = [range(n, min(n + CHUNK, take.frames)) for n in range(0, take.frames, CHUNK)]
    jobs = [(take, chunk) for chunk in chunks]
    workers = min(len(chunks) // 4, os.cpu_count() or 1)  # each takes seconds to start
    with contextlib.ExitStack() as stack:
        answers: Iterator[tuple[Picture, Depth]] = map(_render, jobs)
        if workers > 1:
            # spawned: forks of a process with threads, such as those of DDS, may hang
            context = multiprocessing.get_context('spawn')
            pool = stack.enter_context(context.Pool(workers, _quiet))
            answers = pool.imap(_render, jobs)
        show(0)
        for chunk, (rgb, depth) in zip(chunks, answers, strict=True):
            film.rgb[chunk], film.depth[chunk] = rgb, depth
            show(chunk.stop)
    return film


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us


def _render(job: tuple[Take, range]) -> tuple[Picture, Depth]:
    take, chunk = job
    torch.set_num_threads(1)  # one process per core; and sums come out the same everywhere
    scene = world.random_scene(take.seed, take.kind)
    walk = world.path(scene, take.seed)
    # slower towards both ends, where it turns back
    share = [(1 - math.cos(math.pi * n / max(1, take.frames - 1))) / 2 for n in chunk]
    poses = [walk(s * STEP_S * (take.frames - 1)) for s in share]
    scenes, camera = [scene] * len(chunk), take.camera
    view = world.render_many(scenes, [camera] * len(chunk), poses, frames=chunk)
    depth = view.z
    if camera.is_distorted:
        pinhole = camera.undistorted()
        depth = world.render_many(scenes, [pinhole] * len(chunk), poses, sensor=False).z
    return view.rgb.numpy(), depth.numpy()
