# SPDX-License-Identifier: Apache-2.0
"""What the output of a network of transformers means, by its type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Kind
from depth_ros.parameters.settings import Transformers

#: `model_type` of config.json -> kind of every published network of that type
_KINDS = {
    'zoedepth': Kind.METRIC,
    'glpn': Kind.METRIC,
    'depth_pro': Kind.CANONICAL,
}


def kind_of(config: dict[str, Any], described: Transformers, where: Path) -> Kind:
    """The kind that the user states, or that all networks of this type have.

    Args:
        config: content of config.json.
        described: values of the parameters `transformers.*`.
        where: folder of config.json, for messages.

    Raises:
        ConfigError: it is not known, or what is stated cannot be right.
    """
    known = _known(config)
    if config['model_type'] == 'depth_pro':
        if described.kind not in ('', 'canonical') or described.canonical_focal:
            raise ConfigError(
                f'transformers.kind is {described.kind!r} and transformers.canonical_focal '
                f'{described.canonical_focal:g}, but {where} is Depth Pro, whose canonical focal '
                'length is the width of the image: leave both at their defaults'
            )
        return Kind.CANONICAL
    stated = Kind(described.kind) if described.kind else None
    if stated is None and known is None:
        raise ConfigError(
            f'{where} is a network of type {config["model_type"]!r}, of which not all give the '
            'same: set transformers.kind to what its model card says (metric, canonical, '
            'scale_invariant or affine_inverse)'
        )
    kind = stated or known
    assert kind is not None
    if kind is Kind.CANONICAL and not described.canonical_focal:
        raise ConfigError(
            'transformers.kind is canonical: set transformers.canonical_focal [px at the size of '
            'the output]'
        )
    if kind is not Kind.CANONICAL and described.canonical_focal:
        raise ConfigError(
            f'transformers.canonical_focal is set but the kind is {kind.value}; set '
            'transformers.kind to canonical'
        )
    return kind


def _known(config: dict[str, Any]) -> Kind | None:
    type_ = config['model_type']
    if type_ == 'depth_anything':  # transformers omits the default, relative
        metric = config.get('depth_estimation_type') == 'metric'
        return Kind.METRIC if metric else Kind.AFFINE_INVERSE
    if type_ == 'dpt':
        # those of MiDaS; on DINOv2 they were trained for metres of NYU or KITTI
        backbone = config.get('backbone_config') or {}
        of_dinov2 = isinstance(backbone, dict) and 'dino' in str(backbone.get('model_type'))
        return None if of_dinov2 or config.get('add_projection') else Kind.AFFINE_INVERSE
    return _KINDS.get(type_)
