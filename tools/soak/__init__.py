# SPDX-License-Identifier: Apache-2.0
"""depth_node under load for minutes to hours, while a random schedule kills and changes things.

`make soak ARGS='--minutes 30'` runs it; docs/soak.md describes it.
"""
