# SPDX-License-Identifier: Apache-2.0
"""Seeds of scenes: from `HELD_OUT` on none is ever trained on.

`VALIDATION` chooses among weights, `TEST` is for reports and demonstrations.
"""

HELD_OUT = 10_000_000  #: the first seed that is never trained on
TEST, VALIDATION = HELD_OUT, 2 * HELD_OUT
