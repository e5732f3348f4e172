# SPDX-License-Identifier: Apache-2.0
"""Filter `confidence`: pixels of which the network is not certain become NaN."""

from __future__ import annotations

import torch
from torch import Tensor

from depth_ros.pipeline.filters.mark import with_nan


def certain(z: Tensor, confidence: Tensor | None, least: float) -> Tensor:
    """Mark pixels of low confidence.

    Args:
        z: (H, W) float32 [m].
        confidence: (H, W) float32, larger is more certain, or None.
        least: smallest confidence that is kept; 0 keeps all.

    Returns:
        (H, W) float32, NaN where the confidence is less; `z` itself if nothing is to be marked.
    """
    if confidence is None or least <= 0:
        return z
    if z.device.type != 'cpu':
        return torch.where(confidence < least, torch.nan, z)
    return torch.from_numpy(with_nan(z.numpy(), confidence.numpy() < least))
