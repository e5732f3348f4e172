# SPDX-License-Identifier: Apache-2.0
"""The bytes of an image message -> RGB on the device that infers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros.ros.inputs.images import rows_of, to_rgb

#: encoding -> (bytes a pixel, which of them are red, green and blue)
CHANNELS = {
    'rgb8': (3, (0, 1, 2)),
    'bgr8': (3, (2, 1, 0)),
    '8UC3': (3, (2, 1, 0)),
    'rgba8': (4, (0, 1, 2)),
    'bgra8': (4, (2, 1, 0)),
    '8UC4': (4, (2, 1, 0)),
    'mono8': (1, (0, 0, 0)),
    '8UC1': (1, (0, 0, 0)),
}


class Upload:
    """One copy to the device, of the message's own bytes where it can decode them.

    On the CPU OpenCV decodes. On a GPU the bytes go into locked memory, over in one piece, and are
    put in order there; what is more than an order (Bayer, YUV, compressed) OpenCV decodes first.

    Args:
        device: where frames must be.
    """

    def __init__(self, device: torch.device) -> None:
        """Nothing is allocated yet."""
        self.device = device
        self._locked = torch.empty(0, dtype=torch.uint8)
        self._sent: torch.cuda.Event | None = None

    def __call__(self, message: Any) -> Tensor:
        """(H, W, 3) uint8 RGB on the device, which may still be on its way there.

        Raises:
            ImageError: unknown encoding, or data that do not fit width, height and step.
        """
        encoding = getattr(message, 'encoding', '')
        if self.device.type == 'cpu' or encoding not in CHANNELS:
            # torch wants them writable
            return self._over(np.require(to_rgb(message), requirements='W'))
        count, order = CHANNELS[encoding]
        rows = rows_of(message, message.height, count, np.dtype('u1'))
        return in_order(self._over(rows), order)

    def _over(self, pixels: Any) -> Tensor:
        """(H, W, C) uint8 array -> the same on the device."""
        if self.device.type == 'cpu':
            return torch.from_numpy(pixels)
        if self._locked.numel() < pixels.size:
            self._locked = torch.empty(pixels.size, dtype=torch.uint8, pin_memory=True)
        if self._sent is not None:  # the image before has long arrived, as a rule
            self._sent.synchronize()
        here = self._locked[: pixels.size].view(pixels.shape)
        np.copyto(here.numpy(), pixels)  # leaves out what pads the rows
        there = here.to(self.device, non_blocking=True)
        self._sent = torch.cuda.current_stream(self.device).record_event()
        return there


def in_order(pixels: Tensor, order: tuple[int, int, int]) -> Tensor:
    """(H, W, C) -> (H, W, 3) of the channels `order` names."""
    if order == (0, 1, 2):
        return pixels[..., :3].contiguous()
    return torch.stack([pixels[..., k] for k in order], -1)
