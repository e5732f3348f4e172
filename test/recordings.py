# SPDX-License-Identifier: Apache-2.0
"""Small recordings for tests: bags and pictures of noise."""

import cv2
import numpy as np
from bag_writer import Written


def bag(path, seed=0, frames=8, size=(48, 64), compressed=''):
    """Write an MCAP bag with camera_info and rgb8 images (H, W) of noise."""
    rng, (height, width) = np.random.default_rng(seed), size
    with Written(path, compressed) as made:
        for frame in range(frames):
            at_s = 100 + 0.1 * frame
            made.info('/cam/camera_info', at_s, 'cam', (width, height))
            rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
            made.image('/cam/image_raw', at_s, 'cam', rgb)
    return path


def picture(path, seed=0, size=(48, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))
    return path


def film(path, frames=20, rate=10.0, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, size)
    for k in range(frames):
        writer.write(np.full((size[1], size[0], 3), min(10 * k, 255), np.uint8))
    writer.release()
    return path
