# SPDX-License-Identifier: Apache-2.0
"""From depth maps to messages."""
