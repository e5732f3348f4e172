# SPDX-License-Identifier: Apache-2.0
"""Animation of the README: image, depth and cloud of a rendered sequence, without ROS."""

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
from tools.demo import drawing

EVERY, RATE = 3, 10  #: every n-th image of the sequence is used; images per second
SIZE = 900  #: width [px]
QUALITY = 60  #: of WebP
LEFT, RIGHT = -1.0, 4.0  #: range of the virtual camera of the cloud, in `drawing.SWAY`


def check(path: Path) -> None:
    """Check early that the file can be written.

    Raises:
        ConfigError: the suffix is not .webp, the folder does not exist, or OpenCV is too old.
    """
    if path.suffix != '.webp' or not hasattr(cv2, 'imwriteanimation'):
        raise ConfigError(f'{path}: animations are .webp and need OpenCV 4.11 or later')
    if not path.absolute().parent.is_dir():
        raise ConfigError(
            f'{path}: the folder {path.absolute().parent} does not exist; create it first'
        )


def write(
    path: Path, settings: SequenceSettings, model: str, on_progress: Callable[[str], None]
) -> None:
    """Write the animation, which plays forwards and backwards.

    Args:
        path: of the file.
        settings: of the sequence.
        model: preset.
        on_progress: called with a line of text after each image.

    Raises:
        ConfigError: see `check`.
        OSError: the file cannot be written.
    """
    check(path)
    sequence = render_sequence(settings)
    pipeline, _ = build(with_values(Settings(model=model, engine='torch'), preset_values(model)))
    camera = settings.camera
    near, far = drawing.colour_range(sequence.depth)
    legend = drawing.depth_legend(near, far)
    distance = drawing.median_depth(sequence.depth)
    indices = range(0, len(sequence.rgb), EVERY)
    frames = []
    for n in indices:
        rgb = np.array(sequence.rgb[n])
        depth = pipeline(Frame(torch.from_numpy(rgb).to(pipeline.device), camera))
        z = depth.z.cpu()
        points = back_project(z, depth.camera).reshape(-1, 3).numpy()
        left = np.concatenate((
            drawing.panel('image', rgb),
            drawing.panel(f'depth by {model}', drawing.colourise(z.numpy(), near, far), legend),
        ))  # fmt: skip
        height = left.shape[0] - drawing.BAR - drawing.FOOT
        width = math.ceil(height * camera.width / camera.height)
        # slower towards both ends, as the trajectory is
        fraction = (1 - math.cos(math.pi * n / max(1, indices[-1]))) / 2
        sway = LEFT + (RIGHT - LEFT) * fraction
        cloud = drawing.draw_cloud(points, rgb.reshape(-1, 3), camera, distance, sway, width=width)
        right = drawing.panel('point cloud', cloud, width=width)
        sheet = drawing.sheet([[left, right[: left.shape[0]]]])
        height = round(sheet.shape[0] * SIZE / sheet.shape[1])
        small = cv2.resize(sheet, (SIZE, height), interpolation=cv2.INTER_AREA)
        frames.append(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        on_progress(f'drawing: {len(frames)} of {len(indices)}')
    result = cv2.Animation()
    result.frames = frames + frames[-2:0:-1]
    result.durations = [1000 // RATE] * len(result.frames)
    if not cv2.imwriteanimation(str(path), result, [cv2.IMWRITE_WEBP_QUALITY, QUALITY]):
        raise OSError(f'{path} cannot be written; its folder must exist and be writable')
