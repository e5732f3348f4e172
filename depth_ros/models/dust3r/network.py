# SPDX-License-Identifier: Apache-2.0
"""The layers: one encoder for both views, two decoders that look at each other, a head for each.

Names are ours; `checkpoint` translates the published ones. B batch, h x w input [px], p x q
patches of 16 px, N = p*q tokens, C width of the encoder, D width of the decoders.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from depth_ros.models.depth_anything.any_view import HEAD, apply_rope, rope_table
from depth_ros.models.dust3r.heads import HEADS, PATCH, Shape, grid_of

EPS = 1e-6  # of every norm


PUBLISHED = Shape()

RopeTable = tuple[Tensor, Tensor]  # `rope_table` of a view's tokens


class PointMap(NamedTuple):
    """A view's answer, in the frame of the first view and up to scale.

    Args:
        points: (B, h, w, 3) float32; optical frame: x right, y down, z forward.
        confidence: (B, h, w) float32, from 1 up.
    """

    points: Tensor
    confidence: Tensor


@lru_cache(maxsize=4)
def rope_tables(grid: tuple[int, int], dtype: torch.dtype, device: torch.device) -> RopeTable:
    """`rope_table` of p*q patches, the first of which is at (0, 0)."""
    axes = (torch.arange(n, device=device) for n in grid)
    positions = torch.stack(torch.meshgrid(*axes, indexing='ij'), dim=2).flatten(0, 1)  # (N, 2)
    cos, sin = rope_table(positions)
    return cos.to(dtype), sin.to(dtype)


def _by_head(x: Tensor) -> Tensor:
    b, n, _ = x.shape
    return x.reshape(b, n, -1, HEAD).transpose(1, 2)  # (B, N, C) -> (B, heads, N, 64)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, N, C)


class Attention(nn.Module):
    """Of tokens that know where they are to each other."""

    def __init__(self, width: int) -> None:
        """`width`: of the tokens."""
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rope: RopeTable) -> Tensor:
        """(B, N, C) -> the same shape."""
        q, k, v = (_by_head(y) for y in self.qkv(x).chunk(3, dim=2))
        y: Tensor = self.proj(_attend(apply_rope(q, *rope), apply_rope(k, *rope), v))
        return y


class CrossAttention(nn.Module):
    """Of a view's tokens to the other view's, each knowing where it is in its own picture."""

    def __init__(self, width: int) -> None:
        """`width`: of the tokens."""
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, other: Tensor, rope: RopeTable, rope_other: RopeTable) -> Tensor:
        """(B, N, D), (B, M, D) -> (B, N, D)."""
        q, k, v = _by_head(self.q(x)), _by_head(self.k(other)), _by_head(self.v(other))
        y: Tensor = self.proj(_attend(apply_rope(q, *rope), apply_rope(k, *rope_other), v))
        return y


class EncoderBlock(nn.Module):
    """A transformer block without layer scale."""

    def __init__(self, width: int) -> None:
        """`width`: C."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor, rope: RopeTable) -> Tensor:
        """(B, N, C) -> the same shape."""
        x = x + self.attn(self.norm1(x), rope)
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class DecoderBlock(nn.Module):
    """A transformer block that also looks at the other view."""

    def __init__(self, width: int) -> None:
        """`width`: D."""
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.norm_other = (
            nn.LayerNorm(width, eps=EPS) for _ in range(4)
        )
        self.attn = Attention(width)
        self.cross_attn = CrossAttention(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor, other: Tensor, rope: RopeTable, rope_other: RopeTable) -> Tensor:
        """(B, N, D), (B, M, D) -> (B, N, D)."""
        x = x + self.attn(self.norm1(x), rope)
        x = x + self.cross_attn(self.norm2(x), self.norm_other(other), rope, rope_other)
        y: Tensor = x + self.mlp(self.norm3(x))
        return y


class Dust3r(nn.Module):
    """Points of two views in the frame of the first.

    Args:
        head: a key of `HEADS`.
        shape: another one than the published, for tests.

    Source: Wang et al. 2024, arXiv 2312.14132; encoder and decoders: Weinzaepfel et al. 2023,
    arXiv 2211.10408; rotary positions: Su et al. 2021, arXiv 2104.09864.
    """

    def __init__(self, head: str, shape: Shape = PUBLISHED) -> None:
        """Build with random weights; on the meta device this takes no time and no memory."""
        super().__init__()
        width, inner = shape.width, shape.decoder_width
        self.patch_embed = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.encoder = nn.ModuleList(EncoderBlock(width) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.project = nn.Linear(width, inner)
        self.decoders = nn.ModuleList(
            nn.ModuleList(DecoderBlock(inner) for _ in range(shape.decoder_depth))
            for _ in range(2)
        )
        self._last = shape.decoder_depth - 1
        self.decoder_norm = nn.LayerNorm(inner, eps=EPS)
        self.heads = nn.ModuleList(HEADS[head](shape) for _ in range(2))

    def forward(self, first: Tensor, second: Tensor | None = None) -> tuple[PointMap, ...]:
        """Point maps of the two views, or of one that is shown as both.

        Args:
            first: (B, 3, h, w) RGB in -1..1, h and w multiples of 16.
            second: (B, 3, ., .), of another size if you like; None shows `first` as both.

        Returns:
            Of each view given, the first alone where there is no second.
        """
        if second is None:
            tokens = self.encode(first)
            features, _ = self.decode((tokens, tokens), (grid_of(first),) * 2, both=False)
            return (self._points(0, features, first),)
        if first.shape == second.shape:  # together: a GPU is better filled
            tokens, others = self.encode(torch.cat((first, second))).chunk(2)
        else:
            tokens, others = self.encode(first), self.encode(second)
        branches = self.decode((tokens, others), (grid_of(first), grid_of(second)))
        return self._points(0, branches[0], first), self._points(1, branches[1], second)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, N, C), normed."""
        rope = rope_tables(grid_of(x), x.dtype, x.device)
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        for block in self.encoder:
            tokens = block(tokens, rope)
        normed: Tensor = self.norm(tokens)
        return normed

    def decode(
        self,
        tokens: tuple[Tensor, Tensor],
        grids: tuple[tuple[int, int], tuple[int, int]],
        *,
        both: bool = True,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Encoded views -> of each the encoder's tokens and those of every decoder block.

        Args:
            tokens: (B, N, C), (B, M, C).
            grids: patches (p, q) of the views.
            both: False leaves out the second view's last block, which the first does not see.
        """
        tables = [
            rope_tables(grid, x.dtype, x.device) for grid, x in zip(grids, tokens, strict=True)
        ]
        x = self.project(tokens[0])
        y = x if tokens[1] is tokens[0] else self.project(tokens[1])
        features = [tokens[0]], [tokens[1]]
        for i, (block, block2) in enumerate(zip(*self.decoders, strict=True)):
            # both see what the other was before the block
            new = block(x, y, tables[0], tables[1])
            if both or i < self._last:
                y = block2(y, x, tables[1], tables[0])
                features[1].append(y)
            x = new
            features[0].append(x)
        for branch in features:
            branch[-1] = self.decoder_norm(branch[-1])
        return features

    def _points(self, view: int, features: list[Tensor], picture: Tensor) -> PointMap:
        y = self.heads[view](features, grid_of(picture)).float()  # exp in full precision
        v = y[:, :3].permute(0, 2, 3, 1)  # (B, h, w, 3)
        length = v.norm(dim=3, keepdim=True)
        points = v / length.clamp(min=1e-8) * length.expm1()
        return PointMap(points, 1 + y[:, 3].exp())
