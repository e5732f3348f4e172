# SPDX-License-Identifier: Apache-2.0
"""Finding, downloading, reading and strictly loading checkpoints."""
