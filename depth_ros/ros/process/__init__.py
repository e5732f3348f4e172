# SPDX-License-Identifier: Apache-2.0
"""Settings of the whole process: middleware, memory, log, command line."""
