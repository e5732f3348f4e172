# SPDX-License-Identifier: Apache-2.0
"""`depth-ros ...` for people without a ROS graph at hand; one file a command."""

from __future__ import annotations

import argparse
import logging
import sys

from depth_ros.cli import info, run, table
from depth_ros.core.errors import DepthRosError


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0, or 2 with one line that names what is wrong."""
    parser = argparse.ArgumentParser(prog='depth-ros', description='Metric depth from one camera.')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for command in (table, info, run):
        command.add_to(commands)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stderr)
    logging.getLogger('huggingface_hub').propagate = False  # it has a handler, too
    try:
        given.call(given)
    except DepthRosError as error:
        print(f'depth-ros: {error}', file=sys.stderr)
        return 2
    return 0
