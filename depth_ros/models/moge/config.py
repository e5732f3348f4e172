# SPDX-License-Identifier: Apache-2.0
"""Dimensions of a network, from the `model_config` of its file or as published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from depth_ros.models.interface import Preset


@dataclass(frozen=True, slots=True)
class Size:
    """An encoder.

    Args:
        published: its name in `model_config`.
        encoder: its name in timm.
        width: C.
        depth: number of blocks.
    """

    published: str
    encoder: str
    width: int
    depth: int


SIZES = {
    'vits': Size('dinov2_vits14', 'vit_small_patch14_dinov2', 384, 12),
    'vitb': Size('dinov2_vitb14', 'vit_base_patch14_dinov2', 768, 12),
    'vitl': Size('dinov2_vitl14', 'vit_large_patch14_dinov2', 1024, 24),
}
LEVELS = 5  #: of the maps, each twice as large as the one before
FINER = (256, 128, 64, 32)  #: channels of the levels after the first, which has C
#: output of each head, channels
HEADS = {'points': 3, 'mask': 1, 'normal': 3}
#: how each level becomes the next one
RESAMPLERS = ['conv_transpose'] * 3 + ['bilinear']


@dataclass(frozen=True, slots=True)
class Config:
    """What differs between networks.

    Args:
        size: a key of `SIZES`.
        taps: encoder blocks (0-based) whose tokens are used.
        neck: residual blocks of the neck at each level.
        heads: name, a key of `HEADS`, and its residual blocks at each level.
        tokens: smallest and largest number of patches of an image in training.
    """

    size: str
    taps: tuple[int, ...]
    neck: tuple[int, ...]
    heads: tuple[tuple[str, tuple[int, ...]], ...]
    tokens: tuple[int, int] = (1200, 3600)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return SIZES[self.size].width, *FINER

    @property
    def predicts_normals(self) -> bool:
        """Whether the network has a head for surface normals."""
        return 'normal' in dict(self.heads)

    @classmethod
    def published(cls, variant: str) -> Config:
        """The network of a preset's variant, such as vits_normal."""
        size, _, normal = variant.partition('_')
        large = size == 'vitl'
        blocks = (0, 1, 1, 1, 0)
        names = ['points', 'mask', *(['normal'] if normal else [])]
        return cls(
            size,
            (5, 11, 17, 23) if large else (5, 11),
            (0, 2, 2, 2, 0) if large else blocks,
            tuple((name, blocks) for name in names),
        )

    @classmethod
    def of(cls, preset: Preset) -> Config:
        """The published network of a preset of this family."""
        return cls.published(preset.variant)

    @classmethod
    def parse(cls, stated: object) -> Config:
        """The network that a `model_config` describes.

        Raises:
            ValueError: with the entry that no network of this family has.
        """
        parts = _mapping(stated, 'model_config')
        heads = [name for name in HEADS if f'{name}_head' in parts]
        known = {f'{name}_head' for name in heads}
        known |= {'encoder', 'neck', 'scale_head', 'remap_output', 'num_tokens_range'}
        _refuse_unknown(parts, known, '')
        for name in ('encoder', 'neck', 'points_head', 'mask_head', 'scale_head', 'remap_output'):
            if name not in parts:
                raise ValueError(f'has no {name}')
        encoder = _mapping(parts['encoder'], 'encoder')
        _refuse_unknown(encoder, {'backbone', 'intermediate_layers', 'dim_out'}, 'encoder.')
        backbone = encoder.get('backbone')
        size = next((k for k, s in SIZES.items() if repr(s.published) == repr(backbone)), '')
        if not size:
            raise ValueError(f'encoder.backbone is {backbone!r:.80}')
        width, depth = SIZES[size].width, SIZES[size].depth
        taps = _numbers(encoder.get('intermediate_layers'), 'encoder.intermediate_layers')
        if not taps or sorted({*taps}) != list(taps) or taps[-1] >= depth:
            raise ValueError(f'encoder.intermediate_layers is {list(taps)!r:.80}')
        _expect(encoder.get('dim_out'), width, 'encoder.dim_out')
        widths = [width, *FINER]
        neck = _stack(parts, 'neck', [width + 2, 2, 2, 2, 2], widths, None)
        found = []
        for name in heads:
            out = [None] * (LEVELS - 1) + [HEADS[name]]
            found.append((name, _stack(parts, f'{name}_head', widths, widths, out)))
        scale = _mapping(parts['scale_head'], 'scale_head')
        _refuse_unknown(scale, {'dims'}, 'scale_head.')
        _expect(scale.get('dims'), [width, width, width, 1], 'scale_head.dims')
        _expect(parts['remap_output'], 'exp', 'remap_output')
        stated_range = parts.get('num_tokens_range', [1200, 3600])
        tokens = _numbers(stated_range, 'num_tokens_range')
        if len(tokens) != 2 or not 0 < tokens[0] <= tokens[1]:
            raise ValueError(f'num_tokens_range is {stated_range!r:.80}')
        return cls(size, taps, neck, tuple(found), (tokens[0], tokens[1]))


def _stack(
    parts: Mapping[str, Any], name: str, inputs: list[int], widths: list[int], out: Any
) -> tuple[int, ...]:
    """Residual blocks of each level of one stack of convolutions."""
    stack = _mapping(parts[name], name)
    expected: dict[str, Any] = {
        'dim_in': inputs,
        'dim_out': out,
        'dim_res_blocks': widths,
        'res_block_in_norm': 'none',
        'res_block_hidden_norm': 'none',
        'resamplers': RESAMPLERS,
    }
    usual = {'dim_times_res_block_hidden': 1, 'activation': 'relu'}  # may be left out
    _refuse_unknown(stack, {*expected, *usual, 'num_res_blocks'}, f'{name}.')
    for key, value in expected.items():
        _expect(stack.get(key), value, f'{name}.{key}')
    for key, value in usual.items():
        _expect(stack.get(key, value), value, f'{name}.{key}')
    blocks = _numbers(stack.get('num_res_blocks'), f'{name}.num_res_blocks')
    if len(blocks) != LEVELS or max(blocks) > 16:
        raise ValueError(f'{name}.num_res_blocks is {list(blocks)!r:.80}')
    return blocks


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f'{name} is a {type(value).__name__}')
    return value


def _numbers(value: object, name: str) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError(f'{name} is {value!r:.80}')
    return tuple(value)


def _expect(value: object, expected: object, name: str) -> None:
    # by their text, as a file may hold values that cannot be compared, or True for 1
    if repr(list(value) if isinstance(value, tuple) else value) != repr(expected):
        raise ValueError(f'{name} is {value!r:.80} instead of {expected!r}')


def _refuse_unknown(part: Mapping[str, Any], known: set[str], prefix: str) -> None:
    unknown = sorted(str(key) for key in part if key not in known)
    if unknown:
        raise ValueError(f'has {prefix}{unknown[0]:.80}')
