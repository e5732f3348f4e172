# SPDX-License-Identifier: Apache-2.0
"""timm's DINOv2 with the position table as published, for the families that are built on it.

B batch, h x w input [px], p x q patches of 14 px, C width of the encoder.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_TABLES = 64  # input sizes whose position tables are cached
PATCH = 14
TRAINED_GRID = 37  # 518 px / 14, the grid of the stored position table


class WithDinov2(nn.Module):
    """Base of the networks whose encoder is a DINOv2; `self.encoder` is the timm model.

    Args:
        name: of the encoder in timm.
        pos_embed: 'official' interpolates the position table by the scale (p + 0.1) / 37, as
            published; 'size' to the size, as transformers does. They agree for 37x37 patches only.

    Source: Oquab et al. 2023, arXiv 2304.07193.
    """

    def __init__(self, name: str, *, pos_embed: str = 'official') -> None:
        super().__init__()
        self.pos_embed = pos_embed
        self.encoder: Any = timm.create_model(  # timm has no types
            name, pretrained=False, num_classes=0, img_size=518, dynamic_img_size=True
        )
        self._tables: dict[tuple[object, ...], Tensor] = {}

    def all_taps(self, x: Tensor, blocks: Collection[int]) -> list[Tensor]:
        """Tokens after some blocks, through the final norm; the class token is the first.

        Args:
            x: (B, 3, h, w) normalised RGB, h and w multiples of 14.
            blocks: 0-based.

        Returns:
            (B, 1 + p*q, C) for each of `blocks`, in the order of the encoder.
        """
        encoder, taps = self.encoder, []
        x = self.tokens(x)
        for i, block in enumerate(encoder.blocks):
            x = block(x)
            if i in blocks:
                taps.append(encoder.norm(x))
        return taps

    def tokens(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 1 + p*q, C): class token and patches with position encoding."""
        x = self.encoder.patch_embed.proj(x)  # (B, C, p, q)
        table = self._table(x.shape[2], x.shape[3], x.dtype, x.device)  # (1, 1 + p*q, C)
        x = x.flatten(2).transpose(1, 2)
        return torch.cat((self.encoder.cls_token.expand(len(x), -1, -1), x), dim=1) + table

    def _table(self, p: int, q: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Position table for p x q patches, (1, 1 + p*q, C); cached for each size."""
        key = (p, q, dtype, device)
        table = self._tables.get(key)
        if table is None:
            table = self._interpolated(p, q).to(device, dtype)
            if len(self._tables) < MAX_TABLES:  # never freed: CUDA graphs keep its address
                self._tables[key] = table
        return table

    def _interpolated(self, p: int, q: int) -> Tensor:
        stored: Tensor = self.encoder.pos_embed.detach().float()
        if p == q == TRAINED_GRID:
            return stored
        grid = stored[:, 1:].transpose(1, 2).reshape(1, -1, TRAINED_GRID, TRAINED_GRID)
        if self.pos_embed == 'official':
            # 0.1 was meant against rounding, but torch computes its sampling coordinates from the
            # scale, not from the size, so the networks were trained with it.
            scale = ((p + 0.1) / TRAINED_GRID, (q + 0.1) / TRAINED_GRID)
            grid = F.interpolate(grid, scale_factor=scale, mode='bicubic')
        else:
            grid = F.interpolate(grid, size=(p, q), mode='bicubic')
        return torch.cat((stored[:, :1], grid.flatten(2).transpose(1, 2)), dim=1)
