# SPDX-License-Identifier: Apache-2.0
"""A reader of compressedDepth messages, from the description of the format, number by number."""

import struct

import cv2
import numpy as np


def decoded(form: str, data: bytes) -> np.ndarray:
    """Depth (H, W): float32 [m] with NaN, or uint16 [mm], by the `format` of the message."""
    encoding, _, how = form.partition('; ')
    transport, code = how.split(' ')
    assert transport == 'compressedDepth'
    zero, a, b = struct.unpack('<iff', data[:12])
    assert zero == 0  # inverse depth, the only format that the plugin knows
    values = png(data[12:]) if code == 'png' else rvl(data[12:])
    if encoding == '16UC1':
        return values
    assert encoding == '32FC1'
    depth = np.full(values.shape, np.nan, np.float32)
    np.divide(np.float32(a), values - np.float32(b), out=depth, where=values > 0)
    return depth


def png(data: bytes) -> np.ndarray:
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16
    return values


def rvl(data: bytes) -> np.ndarray:
    width, height = struct.unpack('<II', data[:8])
    nibbles = [
        (word >> shift) & 15
        for (word,) in struct.iter_unpack('<I', data[8:])
        for shift in range(28, -1, -4)
    ]
    position = 0

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            nibble = nibbles[position]
            position += 1
            value |= (nibble & 7) << shift
            shift += 3
            if not nibble & 8:
                return value

    values: list[int] = []
    before = 0
    while len(values) < width * height:
        values += [0] * number()
        for _ in range(number()):
            code = number()
            before += (code >> 1) ^ -(code & 1)
            values.append(before)
    assert not any(nibbles[position:]) and len(nibbles) - position < 8
    return np.array(values, np.uint16).reshape(height, width)
