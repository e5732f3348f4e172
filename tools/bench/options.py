# SPDX-License-Identifier: Apache-2.0
"""Options of the benchmark."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from depth_ros.core.errors import ConfigError
from depth_ros.models import PRESETS
from depth_ros.pipeline.device import DTYPES, choose_device
from depth_ros.pipeline.engines import ENGINES

#: in the order of execution; each is a module with `run(options)`, which returns a dict
PARTS = (
    'transport', 'stages', 'networks', 'engines', 'growth', 'memory', 'scale', 'filters', 'adapt',
)  # fmt: skip
SIZES = ((640, 480), (1280, 720))  #: width and height of images [px]


@dataclass(frozen=True, slots=True)
class Options:
    """Values of the command line; see `add_arguments`."""

    parts: tuple[str, ...] = PARTS
    device: str = 'cpu'
    seconds: float = 5.0
    rounds: int = 1
    minutes: float = 2.0
    threads: int = 1
    precisions: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    all: bool = False
    cameras: tuple[int, ...] = (1, 2, 4, 8)
    sizes: tuple[tuple[int, int], ...] = SIZES
    output: Path = Path('benchmarks/results')
    costmap: Path | None = None

    @property
    def torch_device(self) -> torch.device:
        """The device as an object of torch."""
        return torch.device('cuda:0' if self.device == 'cuda' else self.device)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all options to a parser."""
    default = Options()
    add = parser.add_argument
    add('--parts', default=','.join(PARTS), help='parts to measure [%(default)s]')
    add('--device', default=default.device, help='cpu, cuda or cuda:N [%(default)s]')
    add(
        '--seconds',
        type=float,
        default=default.seconds,
        help='duration of a case of the node [%(default)g]',
    )
    add('--rounds', type=int, default=default.rounds, help='rounds of transport [%(default)s]')
    add('--minutes', type=float, default=default.minutes, help='duration of memory [%(default)g]')
    add(
        '--threads',
        type=int,
        default=default.threads,
        help='CPU threads of the networks [%(default)s]',
    )
    add(
        '--precisions',
        default='',
        help='of the networks, fp32,bf16,fp16; default: all that the device supports',
    )
    add('--presets', default='', help='measure only these networks')
    add('--engine', default='', help='of engines, beside torch; default: all that are installed')
    add('--all', action='store_true', help='include networks above 100 M parameters on a CPU')
    add('--cameras', default='1,2,4,8', help='numbers of cameras of growth [%(default)s]')
    add('--costmap', type=Path, metavar='FILE', help='draw the picture of docs/navigation.md')
    add('--output', type=Path, default=default.output, help='folder of the results [%(default)s]')


def parse(args: argparse.Namespace) -> Options:
    """Check the arguments and convert them to options.

    Raises:
        ConfigError: unknown part, precision, preset or device, or an invalid value.
    """
    parts, precisions = _words(args.parts), _words(args.precisions)
    presets, engines = _words(args.presets), _words(args.engine)
    for name, words, known in (
        ('parts', parts, PARTS),
        ('precisions', precisions, tuple(DTYPES)),
        ('presets', presets, tuple(PRESETS)),
        ('engine', engines, ENGINES),
    ):
        for word in words:
            if word not in known:
                raise ConfigError(f'--{name} has {word!r}; choose from {", ".join(known)}')
    cameras = _words(args.cameras)
    if not all(word.isdigit() and int(word) for word in cameras):
        raise ConfigError(f'--cameras is {args.cameras!r}; write it like 1,2,4,8')
    return Options(
        parts=parts,
        device=str(choose_device(args.device, PRESETS['nano'])),
        seconds=args.seconds,
        rounds=args.rounds,
        minutes=args.minutes,
        threads=args.threads,
        precisions=precisions,
        presets=presets,
        engines=engines,
        all=args.all,
        cameras=tuple(map(int, cameras)),
        output=args.output,
        costmap=args.costmap,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(',', ' ').split())
