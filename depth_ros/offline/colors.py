# SPDX-License-Identifier: Apache-2.0
"""Depth as colours, and the legend that says which colour is how far."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch

from depth_ros.core import encode
from depth_ros.core.types import DepthMap
from depth_ros.parameters.settings import Settings

TICKS = 5


def colored(depth: DepthMap, settings: Settings) -> Any:
    """(H, W, 3) uint8 BGR, depth as colours."""
    colors = settings.colorized
    rgb = encode.colorize(depth.z, colors.min, colors.max, colors.colormap).cpu().numpy()
    return np.ascontiguousarray(rgb[..., ::-1])


def legend(height: int, settings: Settings) -> Any:
    """(height, w, 3) uint8 BGR: the colours with their metres, far at the top."""
    colors = settings.colorized
    bar, width = max(8, height // 30), max(48, height // 6) // 2 * 2
    image = np.full((height, width, 3), 255, np.uint8)
    z = torch.linspace(colors.max, colors.min, height)[:, None].expand(height, bar).contiguous()
    rgb = encode.colorize(z, colors.min, colors.max, colors.colormap).numpy()
    image[:, :bar] = rgb[..., ::-1]
    size = height / 700
    for k in range(TICKS):
        share = k / (TICKS - 1)
        metres = colors.min + share * (colors.max - colors.min)
        y = round((1 - share) * (height - 1))
        cv2.line(image, (bar, y), (bar + bar // 2, y), (0, 0, 0), 1)
        at = (bar + bar // 2 + 2, min(max(y + round(10 * size), round(24 * size)), height - 3))
        cv2.putText(image, f'{metres:g} m', at, cv2.FONT_HERSHEY_SIMPLEX, max(0.3, size),
                    (0, 0, 0), 1, cv2.LINE_AA)  # fmt: skip
    return image
