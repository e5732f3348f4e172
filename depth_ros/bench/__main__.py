# SPDX-License-Identifier: Apache-2.0
"""`python -m depth_ros.bench`, which is `depth-ros bench`."""

import sys

from depth_ros.cli import main

if __name__ == '__main__':
    sys.exit(main(['bench', *sys.argv[1:]]))
