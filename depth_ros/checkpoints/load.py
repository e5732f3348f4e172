# SPDX-License-Identifier: Apache-2.0
"""Load tensors into a network, and refuse whatever does not fit it exactly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from depth_ros.core.errors import WeightsError


def load_strict(
    module: nn.Module, state: dict[str, Tensor], *, path: Path, ignore: Iterable[str] = ()
) -> None:
    """Load all tensors of `state` into `module`; names, shapes and types must match.

    Args:
        module: may be on the meta device; it takes the tensors themselves, not copies.
        state: names in `module` -> tensors.
        path: the file, for messages.
        ignore: regular expressions of full names in `state` that are skipped.

    Raises:
        WeightsError: a tensor is missing, unexpected, of another shape or type, or not finite.
    """
    ignored = re.compile('|'.join(f'(?:{p})' for p in ignore) or '(?!)')
    want = module.state_dict()
    have = {k: v for k, v in state.items() if k in want or not ignored.fullmatch(k)}
    # BatchNorm's counters are not used for inference; some files lack them or halve them
    counts = {k: v for k, v in want.items() if k.endswith('.num_batches_tracked')}
    have |= {k: torch.zeros_like(v, device='cpu') for k, v in counts.items()}
    shapes = [
        f'{k} {tuple(have[k].shape)} instead of {tuple(want[k].shape)}'
        for k in want
        if k in have and have[k].shape != want[k].shape
    ]
    types = [
        f'{k} {have[k].dtype} instead of {want[k].dtype}'
        for k in want
        if k in have and have[k].is_floating_point() != want[k].is_floating_point()
    ]
    faults = {
        'missing': [k for k in want if k not in have],
        'unexpected': [k for k in have if k not in want],
        'of another shape': shapes,
        'of another type': types,
    }
    if any(faults.values()):
        details = '; '.join(f'{len(v)} {k}: {_first(v)}' for k, v in faults.items() if v)
        raise WeightsError(
            f'{path}: download it again, or set model to the preset it is for; it does not fit '
            f'the network. {details}'
        )
    broken = [k for k, v in have.items() if v.is_floating_point() and not _is_finite(v)]
    if broken:
        raise WeightsError(
            f'{path}: {len(broken)} tensors are not finite: {_first(broken)}; the file is '
            'damaged, download it again'
        )
    module.load_state_dict(have, strict=True, assign=True)
    left = [k for k, v in (*module.named_parameters(), *module.named_buffers()) if v.is_meta]
    assert not left, f'buffers outside the state: {left}'


def _is_finite(values: Tensor) -> bool:
    if not values.numel():
        return True
    low, high = values.aminmax()  # both are NaN if any value is; no copy is made
    return bool(low.isfinite() and high.isfinite())


def _first(names: list[str], limit: int = 3) -> str:
    return ', '.join(names[:limit]) + (', ...' if len(names) > limit else '')
