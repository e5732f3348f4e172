# SPDX-License-Identifier: Apache-2.0
"""Depth as image_transport's plugin compressed_depth_image_transport sends it.

Data: a header of 12 bytes (int32 0, float32 A, float32 B), then 16-bit values as PNG or RVL. For
32FC1 a value is A / Z + B, for 16UC1 Z in millimetres, and A and B are not used. 0 is no depth.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FORMATS = ('png', 'rvl')
#: A at most, as of the plugin's default quantization of 100: steps of 1e-4 in inverse depth
MAX_A = 100.0 * 101.0
FAR = 1000.0  #: largest depth without a limit of the range [m]


def quantization(near: float, far: float) -> tuple[float, float]:
    """A and B, so that depths from `near` to `far` [m] have values of 16 bits from 1 on."""
    a = min(MAX_A, 65534.0 * max(near, 0.05))
    return a, 1.0 - a / far


def inverse_values(z: Tensor, a: float, b: float) -> Tensor:
    """Depth (H, W) float32 [m] -> (H, W) uint16: A / z + B, 0 where that is not above 0.

    NaN and infinite depths are 0. What is too near for 16 bits gets the largest value.
    """
    convert = _inverse_by_numpy if z.device.type == 'cpu' else _inverse_by_torch
    return convert(z, a, b)


def _inverse_by_torch(z: Tensor, a: float, b: float) -> Tensor:
    values = a / z + (b + 0.5)  # the conversion to integers truncates
    used = (z > 0) & (z < torch.inf) & (values >= 1)
    values = torch.where(used, values.clamp(max=65535.0), 0)
    return values.to(torch.int32).to(torch.uint16)


def _inverse_by_numpy(z: Tensor, a: float, b: float) -> Tensor:
    """A quarter of torch's time on one core."""
    depth = z.numpy()
    with np.errstate(divide='ignore', invalid='ignore'):
        values = np.float32(a) / depth
        values += np.float32(b + 0.5)
        whole = np.minimum(values, np.float32(65535)).astype(np.uint16)
    whole *= (depth > 0) & (depth < np.inf) & (values >= 1)  # False for NaN
    return torch.from_numpy(whole)


def encoding_name(encoding: str, form: str) -> str:
    """`format` of the message, as the plugin writes it since Jazzy; Humble's reads it too."""
    return f'{encoding}; compressedDepth {form}'


def compressed(
    values: NDArray[np.uint16], form: str, a: float = 0.0, b: float = 0.0, level: int = 1
) -> bytes:
    """Data of a compressedDepth message.

    Args:
        values: (H, W).
        form: one of `FORMATS`.
        a: of `quantization`; 0 for millimetres.
        b: likewise.
        level: of PNG, 1 to 9.
    """
    head = struct.pack('<iff', 0, a, b)
    if form == 'rvl':
        height, width = values.shape
        return head + struct.pack('<II', width, height) + rvl(values)
    _, png = cv2.imencode('.png', values, [cv2.IMWRITE_PNG_COMPRESSION, level])
    return head + png.tobytes()


def rvl(values: NDArray[np.uint16]) -> bytes:
    """Run-length and variable-length code of 16-bit values.

    In turn the number of zeros, the number of others, and their differences to the one before,
    each in groups of 3 bits, the lowest first, of which a fourth bit says that more follow.

    Source: Wilson, "Fast lossless depth image compression", ISS 2017.
    """
    flat = values.reshape(-1)
    used = np.flatnonzero(flat)
    if not len(used):
        return _variable_length(np.array([len(flat), 0], np.int32))
    others = flat[used].astype(np.int32)
    steps = np.diff(others, prepend=np.int32(0))
    signed = (steps << 1) ^ (steps >> 31)  # 0 -1 1 -2 2 -> 0 1 2 3 4
    first = np.flatnonzero(np.diff(used, prepend=-2) > 1)  # of each run, among the others
    begins, ends = used[first], used[np.append(first[1:], len(used)) - 1] + 1
    rest = len(flat) - ends[-1]
    codes = np.empty(len(others) + 2 * len(first) + 2 * (rest > 0), np.int32)
    counts = first + 2 * np.arange(len(first))  # where the two numbers of each run are
    codes[counts] = begins - np.append(0, ends[:-1])
    codes[counts + 1] = ends - begins
    before = np.zeros(len(others), np.int64)
    before[first] = 2
    codes[np.arange(len(others)) + np.cumsum(before)] = signed
    if rest:
        codes[-2:] = rest, 0
    return _variable_length(codes)


def _variable_length(codes: NDArray[np.int32]) -> bytes:
    """Groups of 3 bits, packed into 32-bit words from their highest bits on."""
    count = np.ones(len(codes), np.int64)
    for shift in range(3, 21, 3):
        count += codes >= (1 << shift)
    starts = np.cumsum(count) - count
    total = int(count.sum())
    nibbles = np.zeros(-(-total // 8) * 8, np.uint8)
    left = np.arange(len(codes))
    for k in range(7):
        more = codes[left] >> (3 * k + 3) > 0
        nibbles[starts[left] + k] = (codes[left] >> (3 * k)) & 7 | more << 3
        left = left[more]
        if not len(left):
            break
    pairs = nibbles[::2] << 4 | nibbles[1::2]
    return pairs.reshape(-1, 4)[:, ::-1].tobytes()
