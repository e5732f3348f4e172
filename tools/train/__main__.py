# SPDX-License-Identifier: Apache-2.0
"""Command line of the trainer: `python -m tools.train --minutes 40 --out runs/nano`."""

from __future__ import annotations

import argparse
import logging
import math
import os
from pathlib import Path

import torch

from depth_ros.cli.arguments import count, positive
from depth_ros.core.errors import DepthRosError
from depth_ros.models import PRESETS
from depth_ros.pipeline.device import choose_device
from tools.train import card
from tools.train.loop import Plan, train

log = logging.getLogger(__name__)


def parse_plan(arguments: list[str] | None = None) -> Plan:
    """Parse the command line.

    Raises:
        ConfigError: the device does not exist.
    """
    parser = argparse.ArgumentParser(
        prog='python -m tools.train', description='Train the preset nano.'
    )
    parser.add_argument(
        '--out', type=Path, required=True, help='folder for weights and model card'
    )
    parser.add_argument(
        '--minutes', type=positive, help='wall time [20; no limit if only --steps is given]'
    )
    parser.add_argument('--steps', type=count, help='maximum number of steps [no limit]')
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N [auto]')
    parser.add_argument(
        '--seed', type=int, default=0, help='0 to 9999; other seeds use other scenes'
    )
    parser.add_argument('--resume', type=Path, help='weights to start from')
    parser.add_argument('--workers', type=count, help='number of rendering processes')
    parser.add_argument('--batch', type=count, help='images per step [32; 64 on a GPU]')
    parser.add_argument('--rate', type=positive, default=2e-3, help='maximum learning rate [2e-3]')
    parser.add_argument(
        '--reuse', type=positive, default=6.0, help='how often an image is used [6]'
    )
    parser.add_argument('--threads', type=count, help='threads of the training process, on a CPU')
    args = parser.parse_args(arguments)
    if not 0 <= args.seed < 10_000:
        parser.error(f'--seed is {args.seed}; it must be 0 to 9999')
    device = choose_device(args.device, PRESETS['nano'])
    gpu = device.type == 'cuda'
    cores = os.cpu_count() or 1
    # rendering processes share the GPU; many are needed, as building scenes takes CPU time
    workers = args.workers or (max(1, min(12, cores - 2)) if gpu else max(1, cores // 2))
    if not gpu:
        torch.set_num_threads(
            args.threads or cores
        )  # rendering processes are idle most of the time
    return Plan(
        out=args.out,
        minutes=args.minutes or (math.inf if args.steps else 20.0),
        steps=args.steps or 0,
        device=str(device),
        seed=args.seed,
        resume=args.resume,
        workers=workers,
        batch=args.batch or (64 if gpu else 32),
        rate=args.rate,
        reuse=args.reuse,
        capacity=30_000,
        half=gpu or _has_bfloat16(),
    )


def _has_bfloat16() -> bool:
    """Whether this CPU has bfloat16 instructions; then training is a third faster, else slower."""
    has = getattr(torch.cpu, '_is_avx512_bf16_supported', None)
    return bool(has and has())


def main() -> int:
    """Train and log where the weights are; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s', datefmt='%H:%M:%S')
    try:
        plan = parse_plan()
        progress = train(plan)
        log.info('done: %s; %s', progress.best, card.write(plan, progress))
    except (DepthRosError, OSError) as error:
        log.error('%s', error)
        return 2
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
