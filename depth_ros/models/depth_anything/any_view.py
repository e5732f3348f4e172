# SPDX-License-Identifier: Apache-2.0
"""Version 3 for any number of views: rotary attention, depth and confidence, cameras.

Layer names are ours. V views of one scene; N = 1 + p*q tokens of each, the first of which is the
camera token.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.models.depth_anything.cameras import CameraDecoder, CameraEncoder
from depth_ros.models.depth_anything.network import DepthAnything, Head, grid_of
from depth_ros.models.depth_anything.variant import SIZES, Variant

#: First block (0-based) with rotary attention, and the blocks whose tokens the head uses.
BLOCKS = {
    'vits': (4, (5, 7, 9, 11)),
    'vitb': (4, (5, 7, 9, 11)),
    'vitl': (8, (11, 15, 19, 23)),
}
HEAD = 64  # channels of an attention head
BASE = 100.0  # base of the frequencies of both position encodings, rotary and UV


def rope_table(positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of a rotary position encoding over two axes, (N, 64) each.

    Args:
        positions: (N, 2) row and column indices of patches.

    Source: Su et al. 2021, arXiv 2104.09864, with one half of the channels for each axis.
    """
    quarter = HEAD // 4
    steps = torch.arange(quarter, device=positions.device, dtype=torch.float32) / quarter
    angles = positions.float()[..., None] * BASE**-steps  # (N, 2, 16)
    angles = torch.cat((angles, angles), dim=2).flatten(1)  # (N, 64): y y x x
    return angles.cos(), angles.sin()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (..., N, 64): channel pairs 0..15 and 16..31 by y, 32..47 and 48..63 by x."""
    a, b, c, d = x.chunk(4, dim=-1)
    return x * cos + torch.cat((-b, a, -d, c), dim=-1) * sin


@cache  # CUDA graphs keep the addresses of these tensors; `clear_cache` frees them
@torch.inference_mode(False)  # for gradients too, whoever needs them first
def rope_tables(
    grid: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """`rope_table` of the camera token and p*q patches, for local and for global blocks.

    In a local block the patches have positions from (1, 1) on; in a global block, which compares
    views, all patches have position (1, 1). The camera token has (0, 0).
    """
    axes = (torch.arange(1, n + 1, device=device) for n in grid)
    patches = torch.stack(torch.meshgrid(*axes, indexing='ij'), dim=2).flatten(0, 1)  # (p*q, 2)
    local = rope_table(F.pad(patches, (0, 0, 1, 0)))
    uniform = rope_table(F.pad(torch.ones_like(patches), (0, 0, 1, 0)))
    return (
        (local[0].to(dtype), local[1].to(dtype)),
        (uniform[0].to(dtype), uniform[1].to(dtype)),
    )


def clear_cache() -> None:
    """Free the tables cached for each input size."""
    rope_tables.cache_clear()
    uv_embedding.cache_clear()


class RotaryAttention(nn.Module):
    """Self-attention with rotary position encoding.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(HEAD, eps=1e-5)
        self.k_norm = nn.LayerNorm(HEAD, eps=1e-5)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, N, C) -> the same shape; `cos` and `sin` of `rope_table`."""
        b, n, _ = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, -1, HEAD)  # (B, N, 3, heads, 64)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, 64) each
        q, k = apply_rope(self.q_norm(q), cos, sin), apply_rope(self.k_norm(k), cos, sin)
        y: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return y


@cache  # five tables for each input size; cached for the same reason
@torch.inference_mode(False)
def uv_embedding(
    channels: int,
    size: tuple[int, int],
    aspect: float,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Tensor:
    """Sinusoidal position encoding of the pixels of a map, (channels, *size).

    Args:
        channels: a multiple of 4: sin x, cos x, sin y, cos y.
        size: rows and columns of the map.
        aspect: width / height of the network input; positions are scaled so that its half diagonal
            is 1.
        dtype: of the result.
        device: of the result.
    """
    (height, width), k = size, channels // 4
    half = (1 / math.hypot(aspect, 1), aspect / math.hypot(aspect, 1))  # of height and width
    omega = BASE ** -(torch.arange(k, device=device) / k)  # (k,)
    y, x = (
        omega[:, None] * torch.linspace(-h * (n - 1) / n, h * (n - 1) / n, n, device=device)
        for h, n in zip(half, size, strict=True)
    )  # (k, height), (k, width)
    across = torch.cat((x.sin(), x.cos()))[:, None, :].expand(-1, height, -1)
    down = torch.cat((y.sin(), y.cos()))[:, :, None].expand(-1, -1, width)
    return torch.cat((across, down)).to(dtype)


class AnyViewHead(Head):
    """DPT head with two features for each token and a position encoding of its maps."""

    def __init__(self, variant: Variant) -> None:
        size = SIZES[variant.size]
        super().__init__(replace(size, width=2 * size.width), sky=False)
        self.norm = nn.LayerNorm(2 * size.width, eps=1e-5)
        self.depth = self._branch(size.features // 2, outputs=2)

    def maps(self, taps: list[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        """As `Head.maps`, from four (B, p*q, 2 C), which are normalised first."""
        return super().maps([self.norm(tap) for tap in taps], grid)

    def add_uv_embedding(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Add 0.1 times `uv_embedding` to a map (B, c, ., .)."""
        size = (x.shape[2], x.shape[3])
        return x + 0.1 * uv_embedding(x.shape[1], size, grid[1] / grid[0], x.dtype, x.device)

    def forward(self, taps: list[Tensor], grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Four (B, p*q, 2 C) -> depth, confidence before the activation, (B, 14 p, 14 q) each."""
        both = self.depth(self.pixels(self.paths(self.maps(taps, grid), grid)[-1], grid))
        return both[:, 0], both[:, 1]


def saddle_balanced(tokens: Tensor) -> int:
    """The view that is closest to the middle of all in similarity, norm and variance."""
    unit = F.normalize(tokens, dim=1)
    similarity = ((unit @ unit.T).sum(1) - 1) / (len(tokens) - 1)
    measures = torch.stack((similarity, tokens.norm(dim=1), unit.var(dim=1)))  # (3, V)
    low, high = measures.aminmax(dim=1, keepdim=True)
    return int(((measures - low) / (high - low + 1e-8) - 0.5).abs().sum(0).argmin())


def saddle_sim_range(tokens: Tensor) -> int:
    """The view whose similarities to the others have the greatest range."""
    unit = F.normalize(tokens, dim=1)
    low, high = (unit @ unit.T - torch.eye(len(unit), device=unit.device)).aminmax(dim=1)
    return int((high - low).argmax())


#: Rules of the publishers for the reference view of three views or more whose poses are not known:
#: class tokens (V, C) float32 -> index. All outputs depend on it, so for images of a moving camera
#: it must not change between one frame and the next: use 'first'.
REFERENCES: dict[str, Callable[[Tensor], int]] = {
    'saddle_balanced': saddle_balanced,
    'saddle_sim_range': saddle_sim_range,
    'middle': lambda tokens: len(tokens) // 2,
    'first': lambda tokens: 0,
}


class AnyView(DepthAnything):
    """Depth and confidence of one view, or of several views of a scene with their cameras.

    Args:
        variant: of the network.
        cameras: with the layers for several views, which one view does not need.

    Source: arXiv 2511.10647.
    """

    def __init__(self, variant: Variant, *, cameras: bool = False) -> None:
        super().__init__(variant, head=AnyViewHead(variant))
        width = SIZES[variant.size].width
        self._start, self._tapped = BLOCKS[variant.size]
        for block in self.encoder.blocks[self._start :]:
            block.attn = RotaryAttention(width)
        # one for the reference view, one for all others
        self.encoder.camera_token = nn.Parameter(torch.empty(1, 2, width))
        self.camera_encoder = CameraEncoder(width) if cameras else None
        self.camera_decoder = CameraDecoder(width) if cameras else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, h, w) normalised RGB of B scenes -> depth and confidence (>= 1), (B, h, w)."""
        return self._dense(self.taps(x), x)

    def taps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, h, w) of B scenes -> four (B, p*q, 2 C)."""
        return self._encoded(x, self.encoder.camera_token[:, :1].expand(len(x), -1, -1))[0]

    def views(
        self, x: Tensor, cameras: Tensor | None = None, reference: str = 'saddle_balanced'
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Depth, confidence and cameras of several views of one scene.

        Args:
            x: (V, 3, h, w) normalised RGB.
            cameras: (V, 9) float32, known cameras as `cameras.encode` gives them, or None.
            reference: rule of `REFERENCES`, for three views or more without known cameras; of two
                the first is the reference view.

        Returns:
            Depth and confidence (>= 1), (V, h, w), and cameras (V, 9) with poses in the world that
            the network chose; float32, all lengths up to one factor.
        """
        assert self.camera_encoder is not None and self.camera_decoder is not None
        rule = None
        if cameras is not None:
            tokens = self.camera_encoder(cameras).to(x.dtype)[:, None]
        else:
            first, other = self.encoder.camera_token.transpose(0, 1).split(1)  # (1, 1, C) each
            tokens = torch.cat((first, other.expand(len(x) - 1, -1, -1)))
            rule = REFERENCES[reference] if len(x) >= 3 else None
        taps, features = self._encoded(x, tokens, joint=True, rule=rule)
        return *self._dense(taps, x), self.camera_decoder(features)

    def _dense(self, taps: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        depth, confidence = self.head(taps, grid_of(x))
        return depth.float().exp(), confidence.float().exp() + 1

    def _encoded(
        self,
        x: Tensor,
        camera: Tensor,
        *,
        joint: bool = False,
        rule: Callable[[Tensor], int] | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """Tokens of the last local block beside normalised ones of the tapped blocks.

        Of the blocks with rotary attention even ones are local and odd ones global, in which the
        tokens of all views of a scene attend to each other. With one view both attend to all of
        its tokens and differ only in the position encoding.

        Args:
            x: (B, 3, h, w) normalised RGB.
            camera: (B, 1, C), in the place of the class token of each; the first is that of the
                reference view.
            joint: the images are views of one scene, otherwise each shows another scene.
            rule: chooses the reference view; None for the first.

        Returns:
            Four (B, p*q, 2 C), and (B, 2 C) for the camera decoder, which is not normalised.
        """
        encoder, taps = self.encoder, []
        tables = rope_tables(grid_of(x), x.dtype, x.device)
        if joint:
            cos, sin = tables[1]
            tables = tables[0], (cos.repeat(len(x), 1), sin.repeat(len(x), 1))
        order = list(range(len(x)))
        x = local = self.tokens(x)
        for i, block in enumerate(encoder.blocks):
            if i == self._start - 1 and rule is not None:
                order.insert(0, order.pop(rule(x[:, 0].float())))
                x = x[order]
            if i < self._start:
                x = block(x)
                continue
            if i == self._start:
                x = torch.cat((camera, x[:, 1:]), dim=1)
            y = block.norm1(x)
            if joint and i % 2:
                y = block.attn(y.flatten(0, 1)[None], *tables[1]).view(x.shape)
            else:
                y = block.attn(y, *tables[i % 2])
            x = x + block.ls1(y)
            x = x + block.ls2(block.mlp(block.norm2(x)))
            if i % 2 == 0:
                local = x
            if i in self._tapped:
                taps.append(torch.cat((local, encoder.norm(x)), dim=2)[:, 1:])
        features = torch.cat((local[:, 0], x[:, 0]), dim=1)
        if rule is not None:
            back = [order.index(k) for k in range(len(order))]
            return [tap[back] for tap in taps], features[back]
        return taps, features
