# SPDX-License-Identifier: Apache-2.0
"""An image to try a network on, where there is none of the camera yet."""

from __future__ import annotations

import torch

from depth_ros.core.camera import Camera
from depth_ros.core.types import Frame

USUAL_SIZE = (640, 480)  #: of a camera, width and height [px]


def trial_frame(
    device: torch.device, width: int = USUAL_SIZE[0], height: int = USUAL_SIZE[1]
) -> Frame:
    """An image with structure, always the same for its size, and a typical camera."""
    noise = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 3, 7, 9), generator=noise)
    fine = torch.rand((1, 3, height, width), generator=noise)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic')
    image = ((0.85 * smooth + 0.15 * fine).clamp(0, 1) * 255).to(torch.uint8)
    camera = Camera(width, height, 0.82 * width, 0.82 * width, width / 2 - 0.5, height / 2 - 0.5)
    return Frame(image[0].permute(1, 2, 0).contiguous().to(device), camera)
