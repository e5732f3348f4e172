# SPDX-License-Identifier: Apache-2.0
"""From messages to frames."""
