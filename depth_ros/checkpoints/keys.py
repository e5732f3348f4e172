# SPDX-License-Identifier: Apache-2.0
"""Translate the tensor names of a published checkpoint to the names of our network."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: (pattern, replacement) pairs for `re.sub`; of several that match, only the first is applied.
Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


def rename(state: dict[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Published names -> ours; a name that no rule matches is kept."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name, hit = re.subn(pattern, replacement, name)
            if hit:
                break
        renamed[name] = value
    return renamed


def zero_based(pattern: str, count: int = 1) -> Callable[[re.Match[str]], str]:
    """Replacement of a rule for publishers who number their layers from one.

    Args:
        pattern: format string with one field for each group of the rule's pattern.
        count: number of leading groups that are one-based indices; the others are copied.
    """

    def replacement(match: re.Match[str]) -> str:
        numbers = [int(group) - 1 for group in match.groups()[:count]]
        return pattern.format(*numbers, *match.groups()[count:])

    return replacement


def concatenate(state: dict[str, Tensor], parts: Sequence[str], whole: str) -> None:
    """Replace the tensors `parts` by one, `whole`, concatenated along dimension 0, in place.

    Parts that are missing or differ in shape are left as they are; `load_strict` reports them.
    """
    shapes = {state[part].shape if part in state else None for part in parts}
    if len(shapes) == 1 and shapes.pop():
        state[whole] = torch.cat([state.pop(part) for part in parts])
