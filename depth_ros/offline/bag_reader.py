# SPDX-License-Identifier: Apache-2.0
"""Bags of rosbag2 (mcap, sqlite3) and ROS 1, by the library rosbags; needs no ROS."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from depth_ros.core.errors import ConfigError, ImageError
from depth_ros.core.stamps import nanoseconds

INFO = 'sensor_msgs/msg/CameraInfo'


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The bag in a reader of the library rosbags.

    Raises:
        ConfigError: the library is not installed.
        ImageError: this is no bag that it reads.
    """
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise ConfigError(
            f'{path} is a bag, and rosbags is not installed: pip install rosbags'
        ) from None
    try:
        bag = AnyReader([path], default_typestore=get_typestore(Stores.LATEST))
        bag.open()
    except Exception as error:  # of the library, of sqlite3 and of a damaged file
        raise ImageError(f'{path} is no bag that can be read ({error})') from error
    try:
        yield bag
    finally:
        bag.close()


def messages(bag: Any, connections: Sequence[Any]) -> Iterator[tuple[Any, int, bytes]]:
    """Connection, time of recording [ns] and data of the messages of these connections.

    Args:
        bag: of `opened`.
        connections: none of them means no message; the library would return all.

    Raises:
        ImageError: the bag is damaged here.
    """
    if not connections:
        return
    try:
        yield from bag.messages(connections)
    except Exception as error:  # of the library, of sqlite3 and of decompression
        raise ImageError(f'{bag.paths[0]} is damaged, and ends here: {error}') from error


def decoded(bag: Any, connection: Any, raw: bytes) -> Any:
    """A message.

    Raises:
        ImageError: the data do not fit the type.
    """
    try:
        message = bag.deserialize(raw, connection.msgtype)
    except Exception as error:  # of the library
        raise ImageError(f'{connection.topic}: a message cannot be read ({error})') from error
    if connection.msgtype == INFO and not hasattr(message, 'k'):  # ROS 1 has D, K, R and P
        fields = {f.name.lower(): getattr(message, f.name) for f in dataclasses.fields(message)}
        return SimpleNamespace(**fields)
    return message


def again(bag: Any, connections: Sequence[Any], logged_ns: int, stamp_ns: int) -> Any:
    """A message that was read before.

    Args:
        bag: of `opened`.
        connections: of its topic.
        logged_ns: time of recording [ns].
        stamp_ns: of its header [ns].

    Raises:
        ImageError: it cannot be read.
    """
    try:
        found = list(bag.messages(connections, start=logged_ns, stop=logged_ns + 1))
    except Exception as error:  # of the library, of sqlite3 and of decompression
        raise ImageError(f'{bag.paths[0]} is damaged here: {error}') from error
    for connection, _, raw in found:
        message = decoded(bag, connection, raw)
        if nanoseconds(message.header.stamp) == stamp_ns:
            return message
    topic = connections[0].topic if connections else bag.paths[0]
    raise ImageError(f'{topic}: a message cannot be found again; the bag changed')
