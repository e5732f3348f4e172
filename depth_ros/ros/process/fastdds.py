# SPDX-License-Identifier: Apache-2.0
"""What a process must do before `rclpy.init` so that megabyte messages arrive.

Fast DDS gives each writer a shared-memory segment of 512 KiB by default. A 1280x720 image does not
fit and is lost whole on best-effort topics. The segment belongs to the writer: this fixes our
outputs, and a camera driver needs the same environment variable for its images.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

from depth_ros.parameters.layers import share_directory
from depth_ros.ros.process import shared_memory

TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
#: segment of 2 x 16 MB: one 1280x720 cloud of 14.7 MB twice
TRANSPORTS_VALUE = 'DEFAULT?sockets_size=16MB'
#: the second is the name up to Jazzy; later Fast DDS warns of it
PROFILES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
#: whoever set one of these has tuned Fast DDS already
TUNED_BY_USER = (TRANSPORTS, *PROFILES)


def prepare() -> int:
    """Widen Fast DDS's segment; call before `rclpy.init`.

    DEPTH_ROS_NO_TUNING=1 turns it off; a Fast DDS setting of the user's own is left as it is.

    Returns:
        bytes of shared memory that killed processes had left, now free.
    """
    if os.environ.get('DEPTH_ROS_NO_TUNING') == '1':
        return 0
    if not any(os.environ.get(name) for name in TUNED_BY_USER):
        os.environ.update(tuning())
    return shared_memory.remove_dead()


def tuning() -> dict[str, str]:
    """Environment variables that make room for large messages.

    In a graph kept to this machine rmw_fastrtps ignores `TRANSPORTS` and takes transports of its
    own with the stock segment; a profiles file it does honour.
    """
    if not _this_machine_only():
        return {TRANSPORTS: TRANSPORTS_VALUE}
    names = PROFILES if _up_to_jazzy() else PROFILES[:1]
    profile = str(share_directory() / 'config' / 'fastdds_loopback.xml')
    return dict.fromkeys(names, profile)


def remedy() -> str:
    """What to set in the environment of another process, as one would type it."""
    return ' '.join(f"{name}='{value}'" for name, value in tuning().items())


def describe() -> str:
    """The transport setting in force, for the log."""
    return ', '.join(f'{n}={os.environ[n]}' for n in TUNED_BY_USER if os.environ.get(n)) or 'stock'


def _this_machine_only() -> bool:
    return (
        os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '').upper() == 'LOCALHOST'
        or os.environ.get('ROS_LOCALHOST_ONLY') == '1'
    )


def _up_to_jazzy() -> bool:
    try:
        return int(version('rclpy').split('.')[0]) < 8
    except PackageNotFoundError:
        return True  # both names work everywhere; the newer Fast DDS only warns
