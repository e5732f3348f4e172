# SPDX-License-Identifier: Apache-2.0
"""`depth-ros info FILE`: what a checkpoint is, and which presets take it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from depth_ros import models
from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.find import find_weights
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.core.errors import DepthRosError, WeightsError
from depth_ros.models import PRESETS, ModelOptions


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser('info', help='tell what a checkpoint is')
    parser.add_argument('file', type=Path, help='checkpoint file, its folder, or a zip of it')
    parser.set_defaults(call=call)


def call(given: argparse.Namespace) -> None:
    """Print what the file holds.

    Raises:
        WeightsError: it is no checkpoint.
    """
    path: Path = given.file
    if path.suffix == '.onnx':
        raise WeightsError(
            f'{path} is a network, not a checkpoint: use model onnx and describe it'
        )
    looks = ''
    if path.is_dir() or path.suffix == '.zip':  # of which a family knows what belongs together
        print(f'file      {path}')
    else:
        looks = tell(path)
    fitting, reasons = presets_that_load(path)
    print(f'presets   {", ".join(fitting) or "none"}')
    if len(fitting) > 1:
        print('          the file cannot tell these apart: choose by where you have it from')
    if not fitting:
        # what a family says of its own files, not that the others' are none of theirs
        for reason in dict.fromkeys(r for r in reasons if not (looks and looks in r)):
            print(f'          {reason}')


def tell(path: Path) -> str:
    """Print what is in a checkpoint file; whose it looks like, as messages say it.

    Raises:
        WeightsError: it is none.
    """
    state = read_checkpoint(path)
    dtypes = sorted({str(t.dtype).removeprefix('torch.') for t in state.values()})
    numbers = sum(t.numel() for t in state.values())
    print(f'file      {path}, {path.stat().st_size / 1e6:.1f} MB')
    print(f'tensors   {len(state)}, {numbers / 1e6:.2f} million numbers, {", ".join(dtypes)}')
    print(f'looks     {guess_family(state) or "like no network known here"}')
    return describe(state)


def presets_that_load(path: Path) -> tuple[list[str], list[str]]:
    """Presets whose own loader takes the file, and why the others do not."""
    fitting, reasons = [], []
    logging.disable(logging.WARNING)  # what a file is trusted to be is no news where all are tried
    for name, preset in PRESETS.items():
        if not preset.source.needed or preset.family == 'onnx':
            continue
        try:
            models.load(name, ModelOptions(weights=find_weights(str(path), preset.source)))
            fitting.append(name)
        except DepthRosError as error:
            reasons.append(str(error))
    logging.disable(logging.NOTSET)
    return fitting, reasons
