# SPDX-License-Identifier: Apache-2.0
"""What of a camera's picture the network is shown, as a camera of its own; and the way back.

The networks for 512 px see the picture with its long side that long, less what is over a multiple
of 16 at either end; those for 224 px see its central square.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import CameraError
from depth_ros.core.resample import covered_pixels, resize_uint8, to_camera
from depth_ros.models.dust3r.heads import PATCH


def network_camera(camera: Camera, side: int, *, square: bool, max_tokens: int = 5000) -> Camera:
    """The camera whose picture the network gets.

    Args:
        camera: undistorted.
        side: long side of the resized picture [px]; short side if `square`.
        square: crop to the central square.
        max_tokens: patches the picture may have; more, and it is made smaller.

    Raises:
        CameraError: the picture is so long and narrow that no patch is left.
    """
    while True:
        resized = _resized(camera, side, square=square)
        width, height = _kept(resized, square=square)
        if width * height <= max_tokens * PATCH**2 or side <= PATCH:
            break
        side -= 1
    if width == 0 or height == 0:
        raise CameraError(
            f'picture is {camera.width}x{camera.height}: resized to {resized.width}x'
            f'{resized.height} it has no row or column of {PATCH} px; crop it, or raise input_size'
        )
    # the crop is centred at half the size rounded down, as published
    left, top = resized.width // 2 - width // 2, resized.height // 2 - height // 2
    return resized.cropped(left, top, width, height)


def _resized(camera: Camera, side: int, *, square: bool) -> Camera:
    long, short = max(camera.size), min(camera.size)
    target = round(side * long / short) if square else side  # of the long side
    width, height = (max(1, round(n * target / long)) for n in (camera.width, camera.height))
    return camera.resized(width, height)


def _kept(resized: Camera, *, square: bool) -> tuple[int, int]:
    """Width and height of the crop, multiples of 16."""
    width, height = (n // PATCH * PATCH for n in (resized.width, resized.height))
    if square:
        width = height = min(width, height)
    elif resized.width == resized.height:
        # they were trained with no squares: 4:3
        height = 3 * width // 4 // PATCH * PATCH
    return width, height


def crop_and_resize(rgb: Tensor, camera: Camera, view: Camera) -> Tensor:
    """(H, W, 3) uint8 of `camera` -> (3, h, w) float32 in 0..1, as `view` shows it.

    `view` is what `network_camera` made of `camera`: a part of the resized picture.
    """
    kernel = 'lanczos3' if view.fx < camera.fx else 'catmull_rom'
    width, height = (
        round(camera.width * view.fx / camera.fx),
        round(camera.height * view.fy / camera.fy),
    )
    resized = camera.resized(width, height)
    left, top = round(resized.cx - view.cx), round(resized.cy - view.cy)
    whole = resize_uint8(rgb, (height, width), kernel)
    part = whole[top : top + view.height, left : left + view.width]
    return part.permute(2, 0, 1).float() / 255


def to_image_pixels(values: Tensor, valid: Tensor, view: Camera, camera: Camera) -> Tensor:
    """Maps of the network's pixels -> of the camera's; NaN where it saw nothing or `valid` is not.

    Args:
        values: (n, h, w) float32, of `view`.
        valid: (h, w) bool; what is mixed is mixed of these only.
        view: what `network_camera` made of `camera`.
        camera: of the frame.

    Returns:
        (n, H, W) float32.
    """
    kept = torch.where(valid, values, 0.0)
    both = torch.cat((kept, valid[None].float()))  # (n + 1, h, w)
    both = to_camera(both, view, camera, 'linear')
    there = covered_pixels(view, camera, values.device) & (both[-1] > 0.5)
    return torch.where(there, both[:-1] / both[-1], math.nan)
