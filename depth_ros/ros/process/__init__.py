# SPDX-License-Identifier: Apache-2.0
"""What the process needs beside the node: middleware, memory, log, command line."""
