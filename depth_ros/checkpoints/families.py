# SPDX-License-Identifier: Apache-2.0
"""Recognise a checkpoint by the names of its tensors."""

from __future__ import annotations

from collections.abc import Iterable

# family -> prefixes that all occur among the names of its checkpoint; the first match wins
_DA3 = 'model.backbone.pretrained.'
_FAMILIES: dict[str, tuple[str, ...]] = {
    'Depth Anything 3 (any-view)': (_DA3 + 'camera_token', 'model.head.scratch.'),
    'Depth Anything 3 (metric or mono)': (_DA3, 'model.head.scratch.sky_output_conv2.'),
    'Depth Anything v1 metric (ZoeDepth)': ('core.core.pretrained.', 'conditional_log_binomial.'),
    'Depth Anything v1 or v2': ('pretrained.blocks.', 'depth_head.scratch.'),
    'Depth Anything v1 or v2 (transformers)': ('backbone.embeddings.', 'neck.reassemble_stage.'),
    'Depth Pro': ('encoder.patch_encoder.', 'encoder.image_encoder.'),
    'Depth Pro (transformers)': ('depth_pro.',),
    'DUSt3R': ('enc_blocks.', 'downstream_head1.'),
    'Monodepth2': ('encoder.conv1.', 'encoder.layer1.', 'decoder.0.conv.conv.'),
    'Monodepth2 pose network': ('pose_encoder.encoder.conv1.', 'pose.net.0.'),
    'Monodepth2 encoder': ('encoder.conv1.', 'encoder.layer1.', 'encoder.bn1.'),
    'Monodepth2 decoder': ('decoder.0.conv.conv.',),
    'GLPDepth': ('encoder.patch_embed1.', 'last_layer_depth.'),
    'GLPDepth (transformers)': ('glpn.',),
    'MoGe-2': ('encoder.backbone.', 'points_head.', 'scale_head.'),
    'nano': ('context.whole.', 'ups.0.'),
}


def guess_family(names: Iterable[str]) -> str | None:
    """Family and file layout of a checkpoint with these tensor names, such as 'Depth Pro'.

    Returns:
        A name for messages and for a family's table of layouts; None if it is not recognised.
    """
    names = tuple(names)
    for family, prefixes in _FAMILIES.items():
        if all(any(n.startswith(p) for n in names) for p in prefixes):
            return family
    return None


def find_prefix(names: Iterable[str]) -> str:
    """Prefix behind which the names are those of a known family, such as 'net.'; '' if none.

    Wrappers and training programs put the name of an attribute in front of all names.
    """
    names = tuple(names)
    if guess_family(names):
        return ''
    found = [set.intersection(*prefixes) for prefixes in _prefixes(names).values()]
    return min((prefix for common in found for prefix in common), key=len, default='')


def _prefixes(names: tuple[str, ...]) -> dict[str, list[set[str]]]:
    """Family -> for each of its parts what stands before it, of families that have all parts."""
    found = {
        family: [
            {name[: i + 1] for name in names if (i := f'.{name}'.find(f'.{part}') - 1) >= -1}
            for part in parts
        ]
        for family, parts in _FAMILIES.items()
    }
    return {family: prefixes for family, prefixes in found.items() if all(prefixes)}


def describe(names: Iterable[str]) -> str:
    """Predicate for a message about a checkpoint: 'looks like a <family> checkpoint'."""
    names = tuple(names)
    if family := guess_family(names):
        return f'looks like a {family} checkpoint'
    for family, prefixes in _prefixes(names).items():
        before = ' and '.join(repr(min(found, key=len)) for found in prefixes)
        return (
            f'looks like a {family} checkpoint, of which only the prefixes of the names are wrong '
            f'({before}): rename them, or save the state_dict() of the network itself'
        )
    return f'has names such as {names[0]!r}'
