# SPDX-License-Identifier: Apache-2.0
"""How far a run is: one line that is rewritten on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import sys
import time

PERIOD_S = 10.0  #: of the lines in a pipe


class Progress:
    """Progress on standard error.

    Args:
        total: number of images; 0 if it is not known.
        what: they are, if not images.
    """

    def __init__(self, total: int, what: str = 'images') -> None:
        self.total, self.what = total, what
        self.done = self.skipped = 0
        self._start_s = self._shown_s = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def skip(self, count: int = 1) -> None:
        """Images that need no work."""
        self.skipped += count

    def step(self) -> None:
        """One more image is done."""
        self.at(self.done + 1)

    def at(self, done: int) -> None:
        """So many images are done."""
        self.done = done
        now_s = time.monotonic()
        if now_s - self._shown_s >= (0.2 if self._is_terminal else PERIOD_S):
            self._shown_s = now_s
            print(self, end='\r' if self._is_terminal else '\n', file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the terminal's line to other text."""
        if self._is_terminal:
            print('\x1b[K', end='', file=sys.stderr, flush=True)

    def __str__(self) -> str:
        """Number done of all, rate, and time left."""
        rate = self.done / max(1e-9, time.monotonic() - self._start_s)
        left = max(0, self.total - self.skipped - self.done)
        of_all = f' of {self.total}' if self.total else ''
        text = f'{self.skipped + self.done}{of_all} {self.what}, {rate:.3g}/s'
        return f'{text}, {_time(left / rate)} left' if rate > 0 and left else text


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
