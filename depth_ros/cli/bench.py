# SPDX-License-Identifier: Apache-2.0
"""`depth-ros bench`: how fast, how large, and beside what; the numbers of the README."""

from __future__ import annotations

from typing import Any

from depth_ros.bench import command


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser('bench', help='measure this machine; minutes')
    command.add_arguments(parser)
    parser.set_defaults(call=command.call)
