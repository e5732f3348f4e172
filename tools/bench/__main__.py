# SPDX-License-Identifier: Apache-2.0
"""`python -m tools.bench`: the figures of docs/measured.md."""

from __future__ import annotations

import argparse
import logging
import sys

from depth_ros.core.errors import DepthRosError
from tools.bench import command, options


def main(arguments: list[str] | None = None) -> int:
    """Measure; 0, or 2 with one line that names what is wrong."""
    parser = argparse.ArgumentParser(prog='python -m tools.bench', description='Minutes.')
    options.add_arguments(parser)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stderr)
    try:
        command.call(given)
    except DepthRosError as error:
        print(f'bench: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
