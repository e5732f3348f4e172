# SPDX-License-Identifier: Apache-2.0
"""Crop and resize images for the network, described by the camera of its input.

For 512 px, the longer side is resized to 512 px and both sides are cropped to multiples of 16. For
224 px, the central square is used.
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
    """Camera of the network input: the image of `camera`, resized and cropped.

    Args:
        camera: undistorted.
        side: longer side of the resized image [px]; shorter side if `square`.
        square: crop to the central square.
        max_tokens: maximum number of patches; `side` is reduced to meet it.

    Raises:
        CameraError: the aspect ratio is so extreme that no patch is left.
    """
    while True:
        resized = _resized(camera, side, square=square)
        width, height = _crop_size(resized, square=square)
        if width * height <= max_tokens * PATCH**2 or side <= PATCH:
            break
        side -= 1
    if width == 0 or height == 0:
        raise CameraError(
            f'image is {camera.width}x{camera.height}: resized to {resized.width}x'
            f'{resized.height} it has no row or column of {PATCH} px; crop it, or raise input_size'
        )
    # as published, the crop is centred at half the size, rounded down
    left, top = resized.width // 2 - width // 2, resized.height // 2 - height // 2
    return resized.cropped(left, top, width, height)


def _resized(camera: Camera, side: int, *, square: bool) -> Camera:
    long, short = max(camera.size), min(camera.size)
    target = round(side * long / short) if square else side  # longer side
    width, height = (max(1, round(n * target / long)) for n in (camera.width, camera.height))
    return camera.resized(width, height)


def _crop_size(resized: Camera, *, square: bool) -> tuple[int, int]:
    """Width and height of the crop, multiples of 16."""
    width, height = (n // PATCH * PATCH for n in (resized.width, resized.height))
    if square:
        width = height = min(width, height)
    elif resized.width == resized.height:
        # the networks for 512 px were not trained with square images: crop to 4:3
        height = 3 * width // 4 // PATCH * PATCH
    return width, height


def crop_and_resize(rgb: Tensor, camera: Camera, target: Camera) -> Tensor:
    """Resize and crop an image for the network.

    Args:
        rgb: (H, W, 3) uint8 image of `camera`.
        camera: undistorted.
        target: result of `network_camera` for `camera`.

    Returns:
        (3, h, w) float32 in 0..1, image of `target`.
    """
    kernel = 'lanczos3' if target.fx < camera.fx else 'catmull_rom'
    width, height = (
        round(camera.width * target.fx / camera.fx),
        round(camera.height * target.fy / camera.fy),
    )
    resized = camera.resized(width, height)
    left, top = round(resized.cx - target.cx), round(resized.cy - target.cy)
    whole = resize_uint8(rgb, (height, width), kernel)
    part = whole[top : top + target.height, left : left + target.width]
    return part.permute(2, 0, 1).float() / 255


def to_image_pixels(values: Tensor, valid: Tensor, source: Camera, camera: Camera) -> Tensor:
    """Resample output maps of the network to the image of the camera.

    Args:
        values: (n, h, w) float32, maps of `source`.
        valid: (h, w) bool; only these pixels are interpolated.
        source: result of `network_camera` for `camera`.
        camera: camera of the frame.

    Returns:
        (n, H, W) float32; NaN outside of the crop and where most of the weight is not valid.
    """
    weighted = torch.cat((torch.where(valid, values, 0.0), valid[None].float()))  # (n + 1, h, w)
    resampled = to_camera(weighted, source, camera, 'linear')
    inside = covered_pixels(source, camera, values.device) & (resampled[-1] > 0.5)
    return torch.where(inside, resampled[:-1] / resampled[-1], math.nan)
