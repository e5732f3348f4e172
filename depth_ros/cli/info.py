# SPDX-License-Identifier: Apache-2.0
"""`depth-ros info FILE`: family of a checkpoint and presets that can load it; or of a preset."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from depth_ros import models
from depth_ros.checkpoints.adapted import Card, read_card
from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.find import find_weights
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.cli import table
from depth_ros.core.errors import DepthRosError, WeightsError
from depth_ros.models import PRESETS, ModelOptions, Preset
from depth_ros.models.facts import described_kind
from depth_ros.models.onnx.by_openvino import SUFFIXES
from depth_ros.models.onnx.file import ADAPTED, DESCRIPTION, LICENCE, PRESET, open_file
from depth_ros.models.onnx.session import listed


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser(
        'info',
        help='show what a checkpoint or file of a network is, and which presets load it',
    )
    parser.add_argument(
        'file', type=Path, help='checkpoint file, its folder, a zip of them, or a preset'
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> None:
    """Print content, family and presets of the file.

    Raises:
        WeightsError: the file is no checkpoint, and no network that a library here can read.
    """
    path: Path = args.file
    if not path.exists() and str(path) in PRESETS:
        print_preset(PRESETS[str(path)])
        return
    is_network = path.suffix in ('.onnx', *SUFFIXES)
    if is_network and path.is_file():
        print_network(path)
        return
    if is_network:
        raise WeightsError(
            f'{path} does not exist; for the file of a network use model onnx and describe it by '
            'the parameters onnx.*'
        )
    looks = ''
    if path.is_dir() or path.suffix == '.zip':  # only the loader of a family can read these
        print(f'file      {path}')
    else:
        looks = print_content(path)
    fitting, reasons = presets_that_load(path)
    print(f'presets   {", ".join(fitting) or "none"}')
    if len(fitting) > 1:
        print('          they have the same tensors: choose by the origin of the file')
    if not fitting:
        # only messages of the family of the file, not those of all others
        for reason in dict.fromkeys(r for r in reasons if not (looks and looks in r)):
            print(f'          {reason}')


def print_network(path: Path) -> None:
    """Print inputs and outputs of a file, and what depth-ros export wrote into it.

    Raises:
        ConfigError: the library that reads it is missing.
        WeightsError: it is no network that the library can read.
    """
    session = open_file(path, ModelOptions())
    about = session.metadata
    print(f'file      {path}, {path.stat().st_size / 1e6:.1f} MB')
    for name, ports in (('inputs', session.inputs), ('outputs', session.outputs)):
        print(f'{name:9} {listed(ports)}')
    for name, key in (
        ('preset', PRESET), ('licence', LICENCE), ('weights', 'weights'), ('adapted', ADAPTED),
        ('meaning', 'outputs'), ('described', DESCRIPTION),
    ):  # fmt: skip
        if about.get(key) and PRESET in about:
            print(f'{name:9} {about[key]}')
    if PRESET not in about:
        print('use it    with model onnx, described by the parameters onnx.*: docs/networks.md')


def print_preset(preset: Preset) -> None:
    """Print what a user of a preset must know."""
    source = preset.source
    kind = described_kind(preset)
    restricted = '; restricts use: accept_licence' if source.restricted else ''
    lines = {
        'preset': preset.name,
        'values': kind.value if kind else f'by {preset.family}.kind',
        'weights': table.row(preset.name, preset)[-1]
        + (f', {source.file}' if source.file and (source.repo or source.is_zip) else ''),
        'size': f'{source.megabytes} MB' if source.megabytes else '',
        'licence': source.licence + restricted,
        'range': f'up to {preset.max_depth:g} m' if preset.max_depth else '',
        'paper': preset.paper,
    }
    for name, text in lines.items():
        if text:
            print(f'{name:9} {text}')


def print_content(path: Path) -> str:
    """Print size, tensors and family of a checkpoint file.

    Returns:
        Its family, as messages describe it.

    Raises:
        WeightsError: the file is no checkpoint.
    """
    state = read_checkpoint(path)
    dtypes = sorted({str(t.dtype).removeprefix('torch.') for t in state.values()})
    numbers = sum(t.numel() for t in state.values())
    print(f'file      {path}, {path.stat().st_size / 1e6:.1f} MB')
    print(f'tensors   {len(state)}, {numbers / 1e6:.2f} million numbers, {", ".join(dtypes)}')
    print(f'looks     {guess_family(state) or "like no known network"}')
    if card := read_card(path):
        print_card(card)
    return describe(state)


def print_card(card: Card) -> None:
    """Print what weights were adapted to, how, and with which result."""
    start = f' (sha256 {card.start.sha256[:12]})' if card.start.sha256 else ''
    print(f'adapted   {str(card).removeprefix("adapted ")}{start}; depth_ros {card.depth_ros}')
    print(f'licence   {card.licence}{"; it restricts use" if card.restricted else ""}')
    for name, text in card_lines(card):
        print(f'{name:9} {text}')


def card_lines(card: Card) -> Iterator[tuple[str, str]]:
    """Name and text of a line for each part of a card."""
    for one in card.recordings:
        words = [f'{one.images} images', _number(one.duration_s, 's'), _number(one.path_m, 'm')]
        yield 'recording', '; '.join(filter(None, (one.name, *words, one.poses, one.camera)))
    learnt = card.learnt
    words = [f'{learnt.steps} steps', _number(learnt.seconds, 's'), learnt.device]
    words += [f'{100 * learnt.mix:.0f} % of the adapted weights'] if learnt.mix < 1 else []
    words += ['stopped early'] if learnt.stopped_early else []
    yield 'learnt', '; '.join(filter(None, words))
    for check in card.checks:
        yield (
            'check',
            f'{check.name} ({check.verdict}): '
            + '; '.join(filter(None, (check.found, check.remedy))),
        )
    for scores in card.scores:
        before, after = scores.before, scores.after
        yield (
            'result',
            (
                f'{scores.name}: AbsRel {before.abs_rel:.3f} before, {after.abs_rel:.3f} after; '
                f'delta1 {before.delta1:.3f} before, {after.delta1:.3f} after'
            ),
        )
    for coverage in card.coverage:
        yield 'covers', f'{100 * coverage.share:.0f} % of {coverage.name}'
    if card.parameters:
        values = ' '.join(f'{name}:={value}' for name, value in card.parameters.items())
        yield 'use it', f'with {values}'


def _number(value: float, unit: str) -> str:
    return '' if math.isnan(value) else f'{value:.3g} {unit}'


def presets_that_load(path: Path) -> tuple[list[str], list[str]]:
    """Names of the presets that can load the file, and the error messages of the others."""
    fitting, reasons = [], []
    logging.disable(logging.WARNING)  # assumptions about the variant, as all are tried
    for name, preset in PRESETS.items():
        if not preset.source.needed or preset.family in ('onnx', 'transformers'):
            continue
        try:
            models.load(name, ModelOptions(weights=find_weights(str(path), preset.source)))
            fitting.append(name)
        except DepthRosError as error:
            reasons.append(str(error))
    logging.disable(logging.NOTSET)
    return fitting, reasons
