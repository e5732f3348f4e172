# SPDX-License-Identifier: Apache-2.0
"""Fast DDS settings that make room for megabyte messages; in force before `rclpy.init`.

Fast DDS gives each writer a shared-memory segment of 512 KiB by default. A 1280x720 image does not
fit and is lost on best-effort topics. The segment belongs to the writer: the settings here are for
the outputs of this node. A camera driver needs the same environment variable for its images.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

from depth_ros.parameters.layers import share_directory
from depth_ros.ros.process import shared_memory

TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
#: the second is the name up to Jazzy; later Fast DDS warns of it
PROFILES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
#: if one of these is set, the user has configured Fast DDS
TUNED_BY_USER = (TRANSPORTS, *PROFILES)


def prepare() -> int:
    """Enlarge Fast DDS's segment; call before `rclpy.init`.

    DEPTH_ROS_NO_TUNING=1 disables it. Fast DDS settings of the user are not changed.

    Returns:
        Freed shared memory of killed processes [bytes].
    """
    if os.environ.get('DEPTH_ROS_NO_TUNING') == '1':
        return 0
    if not any(os.environ.get(name) for name in TUNED_BY_USER):
        os.environ.update(tuning())
    return shared_memory.remove_dead()


def tuning() -> dict[str, str]:
    """Environment variables that make room for large messages.

    A profiles file, because Humble knows no other way, and because rmw_fastrtps ignores
    `TRANSPORTS` where discovery is limited to this machine.
    """
    names = PROFILES if _up_to_jazzy() else PROFILES[:1]
    return dict.fromkeys(names, str(share_directory() / 'config' / 'fastdds.xml'))


def remedy() -> str:
    """The settings for another process, as typed in a shell."""
    return ' '.join(f"{name}='{value}'" for name, value in tuning().items())


def describe(rmw: str) -> str:
    """The middleware and its transport setting in force, for the log.

    Args:
        rmw: identifier of the middleware in use.
    """
    if not rmw.startswith('rmw_fastrtps'):
        return rmw
    settings = (
        ', '.join(f'{n}={os.environ[n]}' for n in TUNED_BY_USER if os.environ.get(n))
        or 'default transports'
    )
    return f'{rmw}, {settings}'


def this_machine_only() -> bool:
    """Whether discovery is limited to this machine; rmw_fastrtps then ignores `TRANSPORTS`."""
    return (
        os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '').upper() == 'LOCALHOST'
        or os.environ.get('ROS_LOCALHOST_ONLY') == '1'
    )


def _up_to_jazzy() -> bool:
    try:
        return int(version('rclpy').split('.')[0]) < 8
    except PackageNotFoundError:
        return True  # both names work everywhere; the newer Fast DDS only warns
