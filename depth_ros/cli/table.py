# SPDX-License-Identifier: Apache-2.0
"""`depth-ros models`: list the presets, or recommend some."""

from __future__ import annotations

import argparse
from typing import Any

from depth_ros.cli import arguments, recommend
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Kind
from depth_ros.models import PRESETS, Preset
from depth_ros.models.facts import described_kind, facts
from depth_ros.pipeline.choose_model import WITH_GPU, WITHOUT_GPU, WITHOUT_OPENVINO

_METRES = {
    Kind.METRIC: 'yes',
    Kind.CANONICAL: 'yes, with K',
    Kind.SCALE_INVARIANT: 'no',
    Kind.AFFINE_INVERSE: 'no',
    None: 'as described',
}
COLUMNS = (
    'preset',
    'family',
    'kind',
    'metres',
    'MB',
    'M parameters',
    'input',
    'trained with',
    'licence',
    'source',
)


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser(
        'models',
        help='list the presets, or recommend some for this machine',
        description='List the presets, or with --recommend name three that fit this machine and '
        'your needs.',
    )
    parser.add_argument('words', nargs='*', help='list only rows that contain all of these words')
    parser.add_argument('--recommend', action='store_true', help='measure this machine for 0.5 s')
    needs = parser.add_argument_group('needs, with --recommend')
    needs.add_argument('--scene', choices=('indoors', 'outdoors', 'any'), help='[any]')
    needs.add_argument(
        '--rate', type=arguments.positive, metavar='HZ', help='images per second, at least [1]'
    )
    needs.add_argument(
        '--memory', type=arguments.positive, metavar='GB', help='for the network, at most'
    )
    needs.add_argument(
        '--commercial', action='store_true', help='only licences that restrict no use'
    )
    needs.add_argument(
        '--relative', action='store_true',
        help='also networks without metres, as a scale source gives them (docs/metres.md)',
    )  # fmt: skip
    needs.add_argument(
        '--two-views', action='store_true',
        help='a stereo pair, or odometry, whose distances give metres (docs/two-views.md)',
    )  # fmt: skip
    needs.add_argument('--device', help='auto, cpu or cuda:N [auto]')
    parser.set_defaults(execute=execute)


def row(name: str, preset: Preset) -> tuple[str, ...]:
    """One preset as strings, in the order of `COLUMNS`."""
    meaning = described_kind(preset)
    kind = meaning.value.replace('_', '-') if meaning else f'{preset.family}.kind'
    source = preset.source
    where = source.repo or source.url or ('your file' if source.needed else 'none needed')
    where = 'in the package' if source.packaged else where
    size = str(source.megabytes) if source.megabytes else ''
    known = facts().get(name)
    parameters = f'{known.parameters / 1e6:.3g}' if known else ''
    shape = '{}x{}'.format(*known.input) if known else ''
    trained = str(preset.trained or '')
    return (
        name, preset.family, kind, _METRES[meaning], size, parameters, shape, trained,
        source.licence, where,
    )  # fmt: skip


def execute(args: argparse.Namespace) -> None:
    """Print the table, or what is recommended.

    Raises:
        ConfigError: no row contains all of the words, the device does not exist, or options do
            not go together.
    """
    if args.recommend:
        if args.words:
            raise ConfigError(f'--recommend takes no words; omit {" ".join(args.words)}')
        needs = recommend.Needs(
            args.scene or 'any',
            metres=not args.relative,
            commercial=args.commercial,
            two_views=args.two_views,
            rate_hz=args.rate or 1.0,
            memory_gb=args.memory or 0.0,
        )
        print(recommend.recommend(needs, recommend.Machine.measure(args.device or 'auto')))
        return
    names = ('scene', 'rate', 'memory', 'commercial', 'relative', 'two_views', 'device')
    if unused := [f'--{name.replace("_", "-")}' for name in names if getattr(args, name)]:
        raise ConfigError(f'{" and ".join(unused)} is a need: add --recommend')
    rows = [COLUMNS, *(row(name, preset) for name, preset in PRESETS.items())]
    words = [word.casefold() for word in args.words]
    rows = rows[:1] + [r for r in rows[1:] if all(w in ' '.join(r).casefold() for w in words)]
    if len(rows) == 1:
        raise ConfigError(f'no preset has {" and ".join(args.words)}; omit the words to list all')
    widths = [max(len(r[k]) for r in rows) for k in range(len(COLUMNS))]
    for cells in rows:
        print('  '.join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip())
    if not words:
        print(
            f'\nmodel auto takes {WITH_GPU} with a GPU, and without one {WITHOUT_GPU} if openvino '
            f'is installed, else {WITHOUT_OPENVINO}; docs/networks.md says which to take '
            'otherwise, and depth-ros models --recommend asks this machine'
        )
