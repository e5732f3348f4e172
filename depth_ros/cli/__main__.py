# SPDX-License-Identifier: Apache-2.0
"""Run `depth-ros` as `python -m depth_ros.cli`."""

import sys

from depth_ros.cli import main

if __name__ == '__main__':
    sys.exit(main())
