# SPDX-License-Identifier: Apache-2.0
"""`python -m tools.soak`: run the soak, or kill nodes; write a report and plots."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from tools.bench import plot
from tools.machine import machine, moment
from tools.soak import kills
from tools.soak.schedule import EVENTS, SAMPLE_S, Options, Soak

#: plot -> its lines
PLOTS = {'memory': ('rss_mb', 'in_use_mb'), 'handles': ('files', 'threads')}


def main(arguments: list[str] | None = None) -> int:
    """Run it; returns 1 if there are problems."""
    parser = argparse.ArgumentParser(prog='python -m tools.soak', description=__doc__)
    add = parser.add_argument
    add('--minutes', type=float, default=5.0, help='duration [%(default)g]')
    add('--seed', type=int, default=1, help='of the schedule [%(default)s]')
    add('--cameras', default='front,left,right', help='their names [%(default)s]')
    add('--rate', type=float, default=10.0, help='of each camera [Hz] [%(default)g]')
    add('--events', default=','.join(EVENTS), help='what happens; empty for nothing [%(default)s]')
    add('--kills', type=int, default=0, help='instead: start and kill that many nodes')
    add('--output', type=Path, default=Path('build/soak'), help='folder, emptied [%(default)s]')
    args = parser.parse_args(arguments)
    cameras, events = (tuple(s.split(',')) if s else () for s in (args.cameras, args.events))
    if unknown := set(events) - set(EVENTS):
        parser.error(f'--events has {", ".join(unknown)}; choose from {", ".join(EVENTS)}')
    shutil.rmtree(args.output, ignore_errors=True)
    args.output.mkdir(parents=True)
    result: dict[str, Any] = {'machine': machine(torch.device('cpu')), **moment()}
    if args.kills:
        result |= kills.run(args.kills, args.seed, args.output)
    else:
        options = Options(args.minutes, args.seed, cameras, events, args.rate)
        result |= Soak(options, args.output).run()
        _plot(args.output, result['samples'])
    (args.output / 'report.json').write_text(json.dumps(result, indent=1))
    hidden = ('samples', 'ends', 'machine', 'rows')
    print(json.dumps({k: v for k, v in result.items() if k not in hidden}, indent=1))
    print(f'{len(result["problems"])} problems; the report is {args.output / "report.json"}')
    return 1 if result['problems'] else 0


def _plot(folder: Path, samples: dict[str, list[float | None]]) -> None:
    """Lines over minutes; 0 where no node runs."""
    for name, lines in PLOTS.items():
        shown = {n: [v or 0.0 for v in samples[n]] for n in lines if n in samples}
        if shown:
            plot.write(folder / f'{name}.png', f'depth_node: {name} over minutes', shown, SAMPLE_S)


if __name__ == '__main__':
    sys.exit(main())
