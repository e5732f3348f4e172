# SPDX-License-Identifier: Apache-2.0
"""`python -m tools.bench`: measure the figures of docs/measured.md."""

from __future__ import annotations

import argparse
import logging
import sys

from depth_ros.core.errors import DepthRosError
from tools.bench import command, options


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark.

    Returns:
        Exit status: 0, or 2 after a `DepthRosError`, which is printed in one line.
    """
    parser = argparse.ArgumentParser(
        prog='python -m tools.bench', description='Measure depth_ros; takes minutes.'
    )
    options.add_arguments(parser)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stderr)
    try:
        command.execute(args)
    except DepthRosError as error:
        print(f'bench: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
