# SPDX-License-Identifier: Apache-2.0
"""`depth_node`, or `python -m depth_ros.ros`."""

from __future__ import annotations

import signal
import sys

from depth_ros.ros.process.malloc import keep_freed_memory


def main() -> int:
    """Tune malloc for this process, then run the node; returns the exit code.

    In this order: `depth_ros.ros.node` imports numpy and torch, which start threads.
    """
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback out of an import
    from depth_ros.ros import node

    return node.main()


if __name__ == '__main__':
    sys.exit(main())
