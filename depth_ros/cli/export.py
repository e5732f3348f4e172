# SPDX-License-Identifier: Apache-2.0
"""`depth-ros export --model M --out FILE.onnx`: the network of a preset for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from depth_ros import models
from depth_ros.cli import arguments
from depth_ros.core.errors import ConfigError
from depth_ros.parameters.declare import OF_NODE
from depth_ros.pipeline.abilities import without_effect
from depth_ros.pipeline.choose_model import resolve
from depth_ros.pipeline.export import SHAPING, export, refuse
from depth_ros.pipeline.trial_frame import USUAL_SIZE


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser(
        'export',
        help='write the network of a preset as an ONNX file',
        description='Write the network of a preset as an ONNX file for other programs, with a '
        'params file that describes it and runs it here with model onnx. Both are compared '
        'with torch.',
    )
    arguments.add_model(parser)
    parser.add_argument(
        '--size', type=_size, default=USUAL_SIZE, metavar='WxH',
        help='of the images [{}x{}]; the size of the input follows from it'.format(*USUAL_SIZE),
    )  # fmt: skip
    parser.add_argument(
        '--out', type=Path, required=True, metavar='FILE.onnx',
        help='the params file is FILE.yaml',
    )  # fmt: skip
    parser.add_argument('--overwrite', action='store_true', help='replace what is there')
    parser.set_defaults(execute=execute)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition('x')
    try:
        return arguments.count(width), arguments.count(height)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f'{text!r} is not WxH, such as 640x480') from None


def execute(args: argparse.Namespace) -> None:
    """Write both files, and print what they are.

    Raises:
        DepthRosError: the network cannot be exported, or a file cannot be written.
    """
    params: Path = args.out.with_suffix('.yaml')
    if args.out.suffix != '.onnx':
        raise ConfigError(f'--out is {args.out}; its name must end in .onnx')
    for path in (args.out, args.out.with_name(f'{args.out.name}.data'), params):
        if path.exists() and not args.overwrite:
            raise ConfigError(f'{path} exists: choose another name, or add --overwrite')
    values = arguments.given(args)
    if values.pop('device') not in ('auto', 'cpu'):
        raise ConfigError('networks are exported on the CPU, for every device: leave out --device')
    for name in values:
        if name not in SHAPING:
            raise ConfigError(
                f'{name} does not change the file, which is in fp32: leave it out, and set it '
                'where the file is run'
            )
    if values['model'] in models.PRESETS:
        refuse(models.get(values['model']))
    _, settings, choice = resolve(values)
    reasons = without_effect(settings, models.get(choice.name), has=OF_NODE)
    if reasons:
        raise ConfigError('; '.join(reasons))
    done = export(settings, args.size, args.out)
    card, source = done.card, done.preset.source
    restricted = card.restricted if card else source.restricted
    width, height = done.size
    lines = {
        'preset': f'{done.preset.name}, input {width}x{height}, for images of '
        f'{args.size[0]}x{args.size[1]}',
        'adapted': str(card or ''),
        'licence': (card.licence if card else source.licence)
        + ('; it restricts use' if restricted else ''),
        'checked': f'by onnxruntime: outputs within {done.difference:.1g} of those of torch, '
        f'depth within {done.depth_difference:.1g} (median, relative)',
        'use it': f'depth-ros run photo.jpg --hfov 70 --params-file {params}',
    }
    *files, described = done.paths
    for path in files:
        print(f'{"file":9} {path}, {path.stat().st_size / 1e6:.3g} MB')
    print(f'{"described":9} {described}')
    for name, text in lines.items():
        if text:
            print(f'{name:9} {text}')
