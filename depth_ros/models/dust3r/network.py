# SPDX-License-Identifier: Apache-2.0
"""The layers: one encoder for both views, two decoders with cross attention, and two heads.

Layer names are ours; `checkpoint` translates the published ones. B batch, h x w input [px], p x q
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

EPS = 1e-6  # of every LayerNorm
PUBLISHED = Shape()

RopeTable = tuple[Tensor, Tensor]  # cosines and sines, see `rope_table`


class PointMap(NamedTuple):
    """Output for one view: points in the optical frame of the first view, up to scale.

    Args:
        points: (B, h, w, 3) float32.
        confidence: (B, h, w) float32, at least 1.
    """

    points: Tensor
    confidence: Tensor


@lru_cache(maxsize=4)
def rope_tables(grid: tuple[int, int], dtype: torch.dtype, device: torch.device) -> RopeTable:
    """`rope_table` of p*q patches; the first has position (0, 0)."""
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
    """Self-attention with rotary position encoding.

    Args:
        width: C of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rope: RopeTable) -> Tensor:
        """(B, N, C) -> the same shape."""
        q, k, v = (_by_head(y) for y in self.qkv(x).chunk(3, dim=2))
        y: Tensor = self.proj(_attend(apply_rope(q, *rope), apply_rope(k, *rope), v))
        return y


class CrossAttention(nn.Module):
    """Attention from the tokens of one view to those of the other, with rotary encoding.

    Args:
        width: D of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, other: Tensor, rope: RopeTable, rope_other: RopeTable) -> Tensor:
        """(B, N, D), (B, M, D) -> (B, N, D)."""
        q, k, v = _by_head(self.q(x)), _by_head(self.k(other)), _by_head(self.v(other))
        y: Tensor = self.proj(_attend(apply_rope(q, *rope), apply_rope(k, *rope_other), v))
        return y


class EncoderBlock(nn.Module):
    """Transformer block without layer scale.

    Args:
        width: C of the tokens.
    """

    def __init__(self, width: int) -> None:
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
    """Transformer block with cross attention to the other view.

    Args:
        width: D of the tokens.
    """

    def __init__(self, width: int) -> None:
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
    """Points of two views in the optical frame of the first.

    Args:
        head: a key of `HEADS`.
        shape: dimensions; tests use smaller ones than published.

    Source: Wang et al. 2024, arXiv 2312.14132; encoder and decoders: Weinzaepfel et al. 2023,
    arXiv 2211.10408; rotary positions: Su et al. 2021, arXiv 2104.09864.
    """

    def __init__(self, head: str, shape: Shape = PUBLISHED) -> None:
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
        """Predict the point maps of two views, or of one view that is used as both.

        Args:
            first: (B, 3, h, w) RGB in -1..1, h and w multiples of 16.
            second: (B, 3, ., .), may differ in size; None uses `first` as both views.

        Returns:
            One point map for each view that was given.
        """
        if second is None:
            tokens = self.encode(first)
            features, _ = self.decode((tokens, tokens), (grid_of(first),) * 2, both=False)
            return (self._points(0, features, first),)
        if first.shape == second.shape:  # as one batch, which uses a GPU better
            tokens, others = self.encode(torch.cat((first, second))).chunk(2)
        else:
            tokens, others = self.encode(first), self.encode(second)
        branches = self.decode((tokens, others), (grid_of(first), grid_of(second)))
        return self._points(0, branches[0], first), self._points(1, branches[1], second)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> normalised tokens (B, N, C)."""
        rope = rope_tables(grid_of(x), x.dtype, x.device)
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        for block in self.encoder:
            tokens = block(tokens, rope)
        normalised: Tensor = self.norm(tokens)
        return normalised

    def decode(
        self,
        tokens: tuple[Tensor, Tensor],
        grids: tuple[tuple[int, int], tuple[int, int]],
        *,
        both: bool = True,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Decode both views.

        Args:
            tokens: encoded views, (B, N, C) and (B, M, C).
            grids: patches (p, q) of the views.
            both: False skips the last block of the second view, on which the first does not
                depend.

        Returns:
            For each view, the tokens of the encoder and of every decoder block.
        """
        tables = [
            rope_tables(grid, x.dtype, x.device) for grid, x in zip(grids, tokens, strict=True)
        ]
        x = self.project(tokens[0])
        y = x if tokens[1] is tokens[0] else self.project(tokens[1])
        features = [tokens[0]], [tokens[1]]
        for i, (block, block2) in enumerate(zip(*self.decoders, strict=True)):
            # both use the tokens of the other before this block
            new = block(x, y, tables[0], tables[1])
            if both or i < self._last:
                y = block2(y, x, tables[1], tables[0])
                features[1].append(y)
            x = new
            features[0].append(x)
        for branch in features:
            branch[-1] = self.decoder_norm(branch[-1])
        return features

    def _points(self, view: int, features: list[Tensor], x: Tensor) -> PointMap:
        y = self.heads[view](features, grid_of(x)).float()  # exp in fp32
        v = y[:, :3].permute(0, 2, 3, 1)  # (B, h, w, 3)
        length = v.norm(dim=3, keepdim=True)
        points = v / length.clamp(min=1e-8) * length.expm1()
        return PointMap(points, 1 + y[:, 3].exp())
