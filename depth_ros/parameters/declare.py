# SPDX-License-Identifier: Apache-2.0
"""How a parameter is declared: a dataclass field with its range and description."""

from __future__ import annotations

from dataclasses import field
from typing import Any

#: what a parameter can need to have an effect (`needs`): the node; the node or a bag that is read;
#: the node or a bag that is written; the CPU; or an ability of the network, which
#: `models.Preset.takes` lists
NODE, BAG, WRITTEN_BAG, CPU = 'node', 'bag', 'written bag', 'cpu'
#: of these, what the node has
OF_NODE = frozenset({NODE, BAG, WRITTEN_BAG})
ABILITIES = (
    'confidence',
    'normals',
    'input_size',
    'max_tokens',
    'max_depth',
    'tile_batch',
    'onnx',
    'transformers',
)


def setting(
    default: Any,
    description: str,
    when: str,
    *,
    live: bool = False,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    needs: str = '',
    only_with: tuple[str, ...] = (),
    or_with: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that is a parameter.

    Args:
        default: its value where the user sets none; its type is the parameter's type.
        description: short sentences for `ros2 param describe`, config/depth.yaml and the docs.
        when: one sentence on when to change it, for the docs.
        live: takes effect while the node runs; otherwise a change needs cleanup and configure.
        low: smallest value allowed.
        high: largest value allowed.
        choices: the only strings allowed.
        needs: what it has no effect without: `NODE`, `BAG`, `WRITTEN_BAG`, `CPU`, one of
            `ABILITIES`, or ''.
        only_with: name of another parameter, and its values with which this one has an effect; of
            a list, one of its items.
        or_with: another such parameter, which suffices as well.
    """
    meta = {
        'description': description,
        'when': when,
        'live': live,
        'low': low,
        'high': high,
        'choices': choices,
        'needs': needs,
        'only_with': only_with,
        'or_with': or_with,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=meta)
    return field(default=default, metadata=meta)
