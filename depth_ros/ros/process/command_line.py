# SPDX-License-Identifier: Apache-2.0
"""Words on a node's command line that are none of ROS's: help, or a mistake."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable


def refuse_others(name: str, parameters: Iterable[tuple[str, object, str]]) -> None:
    """Answer --help, and end with what is right where rclpy would ignore a word.

    Args:
        name: of the executable.
        parameters: name, default and meaning of each.

    Raises:
        SystemExit: 0 after the help, 2 for a word before --ros-args.
    """
    rows = [f'  {parameter}:={default}  {why}'.rstrip() for parameter, default, why in parameters]
    argparse.ArgumentParser(
        prog=name,
        usage=f'{name} --ros-args -p PARAMETER:=VALUE ... -r TOPIC:=NAME ...',
        epilog='\n'.join(('parameters with their defaults:', *rows)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args([*itertools.takewhile(lambda word: word != '--ros-args', sys.argv[1:])])
