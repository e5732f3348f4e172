# SPDX-License-Identifier: Apache-2.0
"""Weights from a formula: every tensor is a function of its name and shape alone.

Two implementations of a network that both take these weights must give the same output, so ours
can be compared with the published one, number by number, without the published weights:

1. The first 8 bytes of sha256(name) seed the SplitMix64 generator. Its outputs, read as bytes,
   are one byte b for each element of the flattened tensor.
2. An element is offset + gain * (2 b - 255) / 256: evenly spread over offset +- gain.
3. The tables below give offset and gain. They keep activations of the untrained networks in the
   range where every layer matters.

All values are exact in float32 and, but for the biases of some last layers, in float16.
"""

import hashlib
import math
import re

import numpy as np
import torch

GOLDEN = 0x9E3779B97F4A7C15  # SplitMix64's step
MASK = 2**64 - 1
BLOCK = 1 << 15  # outputs at a time: they fit into a processor's cache

#: Tensors that are no weight matrices: pattern -> (offset, gain). The first match counts.
PLAIN = {
    r'\.running_var$': (1.0, 0.5),
    r'\.running_mean$': (0.0, 0.125),
    r'\.gamma$': (0.1875, 0.125),  # LayerScale
    r'(pos_embed|cls_token|camera_token|mask_token|register_tokens)$': (0.0, 0.5),
    # last layers, so that depth stays in the range of its head
    r'(^|\.)depth_head\.scratch\.output_conv2\.2\.bias$': (0.75, 0.125),  # Depth Anything 1 and 2
    r'\.head\.scratch\.output_conv2\.2\.bias$': (0.75, 0.125),  # Depth Anything 3
    r'\.head\.scratch\.sky_output_conv2\.2\.bias$': (0.25, 0.0625),
    r'\.fc_fov\.0\.bias$': (1.0, 0.125),
    r'^head\.4\.bias$': (0.75, 0.125),  # Depth Pro: inverse depth
    r'^fov\.head\.4\.bias$': (55.0, 0.0),  # and field of view in degrees
    r'^decoder\.1[0-3]\.conv\.bias$': (-1.5, 0.125),  # Monodepth2
    r'^last_layer_depth\.2\.bias$': (2.5, 0.125),  # GLPDepth
    r'^mask_head\.output_blocks\.4\.bias$': (1.0, 0.125),  # MoGe-2: two thirds have a point
}
#: Weight matrices: pattern -> c of gain = c * sqrt(3 / fan in). The first match counts; else 1.
GAIN = {
    # residual branches without LayerScale: DUSt3R, GLPDepth
    r'(enc_blocks|dec_blocks2?)\.\d+\.(attn\.proj|cross_attn\.proj|mlp\.fc2)\.weight$': 0.35,
    r'block[1-4]\.\d+\.(attn\.proj|mlp\.fc2)\.weight$': 0.75,
    # GLPDepth
    r'decoder\.fusion\d\.conv[123]\.': 2.0,
    r'last_layer_depth\.\d\.weight$': 2.0,
    # attention that is far from uniform
    r'\.attn\.(qkv|q|kv)\.weight$|cross_attn\.proj[qkv]\.weight$': 1.5,
    # DUSt3R: points are an exponential of this
    r'downstream_head[12]\.proj\.weight$|\.dpt\.head\.4\.weight$': 0.5,
    # Monodepth2
    r'^decoder\.\d+\.conv\.': 1.5,
    # Depth Anything 1 metric: bins that lie apart
    r'(seed_bin_regressor|attractors\.\d)\._net\.2\.weight$': 6.0,
    r'conditional_log_binomial\.mlp\.\d\.weight$': 3.0,
    # Depth Pro: fields of view a few degrees around 55
    r'^fov\.(encoder\.1|downsample\.0)\.weight$': 3.0,
    r'^fov\.head\.[02]\.weight$': 2.0,
    r'^fov\.head\.4\.weight$': 16.0,
    r'^points_head\.output_blocks\.4\.weight$': 0.5,  # MoGe-2: z is an exponential of this
}
#: DUSt3R: most points lie in front of the camera, with z, the third of four channels, moved by 1.
POINTS = re.compile(r'downstream_head[12]\.proj\.bias$|\.dpt\.head\.4\.bias$')
#: MoGe-2: x / z and y / z follow the coordinates of the pixels, as those of a camera do. Rows 0
#: and 1 are multiplied by the first number, then the elements [0, 0] and [1, 1] are the second.
CAMERA = {
    r'^neck\.input_blocks\.4\.weight$': (1.0, 8.0),
    r'^points_head\.input_blocks\.4\.weight$': (0.125, 2.0),
    r'^points_head\.output_blocks\.4\.weight$': (0.125, 0.0625),
}
#: MoGe-2: constants of the published files, the only values that float16 does not hold.
CONSTANTS = {
    'encoder.image_mean': (0.485, 0.456, 0.406),
    'encoder.image_std': (0.229, 0.224, 0.225),
}
#: One tensor under two names: pattern -> the name that counts.
ALIASES = {
    r'scratch\.layer_rn\.(\d)\.': lambda m: f'scratch.layer{int(m[1]) + 1}_rn.',
    r'output_conv2_aux\.\d\.2\.': lambda m: 'output_conv2_aux.0.2.',
}


def random_bytes(seed: int, count: int) -> np.ndarray:
    """`count` bytes (uint8) of SplitMix64 from `seed`."""
    numbers = np.empty(-(-count // 8), '<u8')
    steps = np.arange(1, BLOCK + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    for start in range(0, len(numbers), BLOCK):
        z = numbers[start : start + BLOCK]
        np.add(steps[: len(z)], np.uint64((seed + start * GOLDEN) & MASK), out=z)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z ^= z >> np.uint64(shift)
            z *= np.uint64(factor)
        z ^= z >> np.uint64(31)
    return numbers.view(np.uint8)[:count]


def fan_in(name: str, shape: tuple[int, ...]) -> int:
    """How many inputs an output of the layer has."""
    # a transposed convolution whose kernel is its stride takes one pixel of every channel
    if len(shape) == 4 and shape[2:] in ((2, 2), (4, 4)) and '.sr.' not in name:
        return shape[0]
    return math.prod(shape[1:])


def three_bits(x: float) -> float:
    """`x` rounded down to three significant bits: products with a byte are exact in float16."""
    mantissa, exponent = math.frexp(x)
    return math.ldexp(math.floor(mantissa * 8) / 8, exponent)


def offset_and_gain(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    for pattern, values in PLAIN.items():
        if re.search(pattern, name):
            return values
    if name.endswith('.bias'):
        return 0.0, 0.125
    if len(shape) < 2:  # the scale of a normalisation
        return 1.0, 0.25
    c = next((c for pattern, c in GAIN.items() if re.search(pattern, name)), 1.0)
    return 0.0, three_bits(c * math.sqrt(3 / fan_in(name, shape)))


def tensor(name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The tensor of a published checkpoint that has this name and shape."""
    for pattern, to in ALIASES.items():
        name = re.sub(pattern, to, name)
    if name in CONSTANTS:
        return torch.tensor(CONSTANTS[name], dtype=dtype).reshape(shape)
    leaf = name.rpartition('.')[2]
    if leaf == 'k_idx':  # numbers of the bins of Depth Anything 1 metric
        return torch.arange(math.prod(shape), dtype=dtype).reshape(shape)
    if leaf == 'K_minus_1':
        return torch.full(shape, 63, dtype=dtype)
    if not dtype.is_floating_point:  # num_batches_tracked
        return torch.zeros(shape, dtype=dtype)
    offset, gain = offset_and_gain(name, shape)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], 'little')
    values = random_bytes(seed, math.prod(shape)).astype(np.float32)
    values *= np.float32(2 * gain / 256)
    values += np.float32(offset - 255 * gain / 256)  # this sum is exact too
    if POINTS.search(name):
        values.reshape(4, -1)[2] += 1
    for pattern, (factor, diagonal) in CAMERA.items():
        if re.search(pattern, name):
            rows = values.reshape(shape)
            rows[:2] *= np.float32(factor)
            rows[0, 0] = rows[1, 1] = diagonal
    return torch.from_numpy(values.reshape(shape)).to(dtype)
