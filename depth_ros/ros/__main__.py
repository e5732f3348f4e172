# SPDX-License-Identifier: Apache-2.0
"""`depth_node`, or `python -m depth_ros.ros`."""

from __future__ import annotations

import gc
import signal
from typing import NoReturn

from depth_ros.ros.process.malloc import keep_freed_memory


def main() -> NoReturn:
    """Tune malloc for this process, run the node, and end the process with its exit code.

    In this order: `depth_ros.ros.node` imports numpy and torch, which start threads.
    """
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback out of an import
    from depth_ros.ros import node
    from depth_ros.ros.process.init import end

    gc.freeze()  # modules are never garbage: to look through torch's takes 0.1 s each time
    end(node.main())


if __name__ == '__main__':
    main()
