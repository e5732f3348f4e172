# SPDX-License-Identifier: Apache-2.0
"""`depth-ros models`: list the presets."""

from __future__ import annotations

import argparse
from typing import Any

from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Kind
from depth_ros.models import PRESETS, Preset
from depth_ros.parameters import layers
from depth_ros.pipeline.choose_model import WITH_GPU, WITHOUT_GPU

_METRES = {
    Kind.METRIC: 'yes',
    Kind.CANONICAL: 'yes, with K',
    Kind.SCALE_INVARIANT: 'no',
    Kind.AFFINE_INVERSE: 'no',
    None: 'as described',
}
COLUMNS = ('preset', 'family', 'kind', 'metres', 'MB', 'licence', 'source')


def add_command(commands: Any) -> None:
    """Add this command to the subparsers of `depth-ros`."""
    parser = commands.add_parser('models', help='list the presets')
    parser.add_argument('words', nargs='*', help='list only rows that contain all of these words')
    parser.set_defaults(execute=execute)


def described_kind(name: str, preset: Preset) -> Kind | None:
    """Kind of a preset, from its row or its file in config/models; None if not defined."""
    described = layers.preset_values(name).get('onnx.kind')
    return preset.kind or (Kind(described) if described else None)


def row(name: str, preset: Preset) -> tuple[str, ...]:
    """One preset as strings, in the order of `COLUMNS`."""
    meaning = described_kind(name, preset)
    kind = meaning.value.replace('_', '-') if meaning else 'onnx.kind'
    source = preset.source
    where = source.repo or source.url or ('your file' if source.needed else 'none needed')
    where = 'in the package' if source.packaged else where
    size = str(source.megabytes) if source.megabytes else ''
    return name, preset.family, kind, _METRES[meaning], size, source.licence, where


def execute(args: argparse.Namespace) -> None:
    """Print the table.

    Raises:
        ConfigError: no row contains all of the words.
    """
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
            f'\nmodel auto takes {WITH_GPU} with a GPU and {WITHOUT_GPU} without one; '
            'docs/networks.md says which to take otherwise'
        )
