# SPDX-License-Identifier: Apache-2.0
"""The picture at the head of the README: image, depth and cloud of a film, without ROS."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from depth_ros.core.errors import ConfigError
from depth_ros.core.geometry import back_project
from depth_ros.core.types import Frame
from depth_ros.parameters.layers import preset_values, with_values
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.build import build
from depth_ros.sim.sequence import SequenceSettings, render_sequence
from tools.demo import pictures

EVERY, RATE = 3, 10  #: n-th view of the film; shown a second
SIZE = 900  #: width [px]
QUALITY = 60  #: of WebP
LEFT, RIGHT = -1.0, 4.0  #: where the viewer of the cloud begins and turns back, in `pictures.SWAY`


def check(path: Path) -> None:
    """Refuse early what cannot be written.

    Raises:
        ConfigError: the name does not end in .webp, there is no such folder, or OpenCV is too old.
    """
    if path.suffix != '.webp' or not hasattr(cv2, 'imwriteanimation'):
        raise ConfigError(f'{path}: animations are .webp and need OpenCV 4.11 or later')
    if not path.absolute().parent.is_dir():
        raise ConfigError(f'{path}: there is no folder {path.absolute().parent}; make it first')


def write(path: Path, settings: SequenceSettings, model: str, show: Callable[[str], None]) -> None:
    """Write the animation, there and back.

    Args:
        path: of the file.
        settings: what is filmed.
        model: preset.
        show: told how far it is.

    Raises:
        ConfigError: see `check`.
        OSError: it could not be written.
    """
    check(path)
    film = render_sequence(settings)
    answer, _ = build(with_values(Settings(model=model), preset_values(model)))
    camera = settings.camera
    near, far = pictures.span(film.depth)
    legend = pictures.depth_legend(near, far)
    distance = pictures.middle(film.depth)
    views = range(0, len(film.rgb), EVERY)
    frames = []
    for n in views:
        rgb = np.array(film.rgb[n])
        depth = answer(Frame(torch.from_numpy(rgb).to(answer.device), camera))
        z = depth.z.cpu()
        points = back_project(z, depth.camera).reshape(-1, 3).numpy()
        left = np.concatenate((
            pictures.panel('image', rgb),
            pictures.panel(f'depth by {model}', pictures.colourise(z.numpy(), near, far), legend),
        ))  # fmt: skip
        height = left.shape[0] - pictures.BAR - pictures.FOOT
        width = math.ceil(height * camera.width / camera.height)
        # slower towards both ends, as the walk is
        share = (1 - math.cos(math.pi * n / max(1, views[-1]))) / 2
        sway = LEFT + (RIGHT - LEFT) * share
        cloud = pictures.draw_cloud(
            points, rgb.reshape(-1, 3), camera, distance, sway, width=width
        )
        right = pictures.panel('point cloud', cloud, width=width)
        sheet = pictures.sheet([[left, right[: left.shape[0]]]])
        height = round(sheet.shape[0] * SIZE / sheet.shape[1])
        small = cv2.resize(sheet, (SIZE, height), interpolation=cv2.INTER_AREA)
        frames.append(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        show(f'drawing: {len(frames)} of {len(views)}')
    strip = cv2.Animation()
    strip.frames = frames + frames[-2:0:-1]
    strip.durations = [1000 // RATE] * len(strip.frames)
    if not cv2.imwriteanimation(str(path), strip, [cv2.IMWRITE_WEBP_QUALITY, QUALITY]):
        raise OSError(f'{path} could not be written; is its folder there and writable?')
