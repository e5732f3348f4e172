# SPDX-License-Identifier: Apache-2.0
"""How far a network in another precision or engine is from torch in fp32."""

from __future__ import annotations

import torch

#: the next choice after a precision that is too inaccurate for a network
SAFER = {'fp16': 'bf16', 'bf16': 'fp32'}
#: median relative difference from fp32 above which a precision is refused
TOLERANCE = 0.02


def compare(values: torch.Tensor, expected: torch.Tensor) -> float:
    """Median relative difference; infinite if numbers were lost on more than 1 % of the pixels."""
    there = torch.isfinite(expected) & (expected != 0)
    lost = there & ~torch.isfinite(values)
    if not there.any():
        return 0.0
    if lost.sum() > 0.01 * there.sum():
        return float('inf')
    both = there & ~lost
    return float(((values[both] - expected[both]) / expected[both]).abs().median())
