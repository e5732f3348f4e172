# SPDX-License-Identifier: Apache-2.0
"""`depth_node`, or `python -m depth_ros.ros`."""

from __future__ import annotations

from depth_ros.ros.process.malloc import keep_freed_memory


def main() -> None:
    """Tune malloc for this process, then run the node.

    In this order: `depth_ros.ros.node` imports numpy and torch, which start threads.
    """
    keep_freed_memory()
    from depth_ros.ros import node

    node.main()


if __name__ == '__main__':
    main()
