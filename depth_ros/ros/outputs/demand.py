# SPDX-License-Identifier: Apache-2.0
"""Which outputs are wanted of an image: decided once, by subscribers and rates."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass

from depth_ros.core.stamps import went_back
from depth_ros.parameters.settings import Settings

#: outputs that `points.rate` limits, all with the same images
CLOUDS = frozenset({'points', 'points_clearing'})


@dataclass(frozen=True, slots=True)
class Demand:
    """What is wanted of one image.

    Args:
        topics: outputs that have subscribers and are due.
        subscribed: whether any output has subscribers. Without topics that means "not due yet".
    """

    topics: frozenset[str]
    subscribed: bool

    def __bool__(self) -> bool:
        """Whether the image has to be processed."""
        return bool(self.topics)


class RateLimit:
    """At most `rate` admissions per second of message time; a rate of 0 admits all.

    Only the time of the last admission is kept: a new rate counts from the next message on.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None  # on a grid of periods, which keeps the mean rate exact

    def due(self, now_ns: int, rate: float) -> bool:
        """Whether a message of this time [ns] may pass at `rate` [Hz]."""
        if rate <= 0 or self._last_ns is None or went_back(now_ns, self._last_ns):
            return True
        period_ns = round(1e9 / rate)
        # a quarter of a period early is on time: stamps jitter, and simulators round them
        return now_ns >= self._last_ns + period_ns - period_ns // 4

    def admit(self, now_ns: int, rate: float) -> None:
        """Count a message that passed."""
        last_ns, self._last_ns = self._last_ns, now_ns
        if rate <= 0 or last_ns is None or went_back(now_ns, last_ns):
            return
        period_ns = round(1e9 / rate)
        if now_ns < last_ns + 2 * period_ns:  # after a pause the grid starts at this message
            self._last_ns = last_ns + period_ns


class DemandGate:
    """Decides for each image of one camera; owner of all its rate limits."""

    def __init__(self) -> None:
        self._images, self._points = RateLimit(), RateLimit()
        self._stamp_ns: int | None = None
        self._time_ns, self._arrived_s = 0, 0.0

    def decide(self, subscribed: Set[str], stamp_ns: int, settings: Settings) -> Demand:
        """What is wanted of the image of this stamp.

        Args:
            subscribed: names of outputs that have subscribers.
            stamp_ns: header stamp of the image [ns].
            settings: `rate` limits all outputs, `points.rate` those of `CLOUDS`.
        """
        now_ns = self._time(stamp_ns)
        wanted = set(subscribed)
        if not self._points.due(now_ns, settings.points.rate):
            wanted -= CLOUDS
        if not wanted or not self._images.due(now_ns, settings.rate):
            return Demand(frozenset(), bool(subscribed))
        self._images.admit(now_ns, settings.rate)
        if wanted & CLOUDS:
            self._points.admit(now_ns, settings.points.rate)
        return Demand(frozenset(wanted), True)

    def _time(self, stamp_ns: int) -> int:
        """Message time [ns]: the stamp, or the time of arrival where stamps stand still."""
        arrived_s = time.monotonic()
        if stamp_ns == self._stamp_ns:
            self._time_ns += round((arrived_s - self._arrived_s) * 1e9)
        else:
            self._time_ns = stamp_ns
        self._stamp_ns, self._arrived_s = stamp_ns, arrived_s
        return self._time_ns
