# SPDX-License-Identifier: Apache-2.0
"""The command `depth-ros`, which works without ROS; one file for each subcommand."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from depth_ros import __version__
from depth_ros.cli import adapt, calibrate, evaluate, export, info, run, table, view
from depth_ros.cli import arguments as options
from depth_ros.core.errors import DepthRosError


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: of the command line; None uses `sys.argv`.

    Returns:
        Exit status: 0, 2 after a `DepthRosError`, which is printed in one line, or 130 after
        Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog='depth-ros', description='Metric depth from one camera.')
    parser.add_argument('--version', action='version', version=f'depth-ros {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for command in (table, info, run, export, evaluate, calibrate, adapt, view):
        command.add_command(commands)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stderr)
    logging.getLogger('huggingface_hub').propagate = False  # it has a handler, too
    try:
        options.with_file(args)
        args.execute(args)
        sys.stdout.flush()
    except DepthRosError as error:
        print(f'depth-ros: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('depth-ros: interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:  # `depth-ros models | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
