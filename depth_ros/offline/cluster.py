# SPDX-License-Identifier: Apache-2.0
"""Ray: connecting to a cluster or starting one on this machine, and what it has room for."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from depth_ros.core.errors import ConfigError

#: of a Ray that is started here [bytes]: units and results are small
STORE = 100_000_000
#: unless the user has set these, Ray reports no usage to its makers, and prints no advice
QUIET = {'RAY_USAGE_STATS_ENABLED': '0', 'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0'}
#: a Ray that is started here listens at loopback addresses alone, as it does on other systems
ALONE = {'RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER': '0'}
REACH_S = 5.0  #: for a cluster to answer; Ray itself waits for minutes


@dataclass(frozen=True, slots=True)
class Share:
    """Of a node, what a worker reserves.

    Args:
        cpus: cores.
        gpus: GPUs; 0.5 for two workers on each.
    """

    cpus: float
    gpus: float

    def __str__(self) -> str:
        """In words."""
        return f'{self.cpus:g} CPUs and {self.gpus:g} GPUs'


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module ray, connected; a Ray that was started here is ended.

    Args:
        address: of a cluster; '' for that of `RAY_ADDRESS`, else for one on this machine alone.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster.
    """
    address = address or os.environ.get('RAY_ADDRESS', '')
    # Ray reads these when it is imported
    for name, value in (QUIET if address else QUIET | ALONE).items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray._private.worker as internal
    except ImportError:
        raise ConfigError(
            "--ray needs the package ray, which is not installed: pip install 'ray>=2.60'"
        ) from None
    if address.startswith('ray://'):
        raise ConfigError(
            f'--ray {address} is of the Ray client, which does not see --output: start the '
            'command on a node of the cluster, with HOST:6379 or auto'
        )
    internal._worker_logs_enabled = False  # a worker's death is reported by us
    options: dict[str, Any] = {'address': address}
    _reach(address)
    if not address:
        options = {
            'address': 'local',
            'include_dashboard': False,
            'object_store_memory': STORE,
            '_node_ip_address': '127.0.0.1',
        }
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f'no Ray cluster at {address}' if address else 'Ray cannot be started here'
        raise ConfigError(
            f'--ray: {where} ({reason_of(error)}); start one with `ray start --head`, or give '
            'its HOST:PORT'
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Check that something listens at HOST:PORT.

    Raises:
        ConfigError: nothing does.
    """
    host, _, port = address.rpartition(':')
    if not port.isdecimal():
        return  # auto
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except OSError as error:
        raise ConfigError(
            f'--ray: no Ray cluster at {address} ({error}); start one with `ray start --head`, '
            'or give its HOST:PORT'
        ) from error


def share_of(
    ray: Any, cpus: float | None, gpus: float | None, *, threads: int, device: str
) -> Share:
    """What each worker reserves.

    Args:
        ray: the module, connected.
        cpus: as asked for; None for one for each thread of the network.
        gpus: as asked for; None for a whole GPU where the cluster has some, and `device` allows.
        threads: of the network on a CPU.
        device: as asked for.

    Raises:
        ConfigError: GPUs are asked for, and there are none; or the device is one of several.
    """
    has_gpus = any(node['Resources'].get('GPU', 0) > 0 for node in alive(ray))
    if device.partition(':')[2] not in ('', '0'):
        raise ConfigError(
            f'--device is {device} with --ray, which chooses a GPU for each worker: give cuda'
        )
    wanted = gpus or (1 if device.startswith('cuda') else 0)
    if wanted and not has_gpus:
        what = f'--gpus-per-worker {gpus:g}' if gpus else f'--device {device}'
        raise ConfigError(f'{what}: no node of the Ray cluster has a GPU; omit it to use CPUs')
    if gpus is None:
        gpus = 1 if has_gpus and device != 'cpu' else 0
    elif gpus and device == 'cpu':
        raise ConfigError(f'--gpus-per-worker {gpus:g} with --device cpu: omit one of them')
    return Share(cpus or threads, gpus)


def places(ray: Any, share: Share) -> int:
    """For how many workers there is room.

    Raises:
        ConfigError: for none.
    """
    count = 0
    for node in alive(ray):
        has = node['Resources']
        room = [
            has.get(kind, 0) / wanted
            for kind, wanted in (('CPU', share.cpus), ('GPU', share.gpus))
            if wanted
        ]
        count += int(min(room, default=1) + 1e-6)
    if not count:
        nodes = ', '.join(
            f'{n["Resources"].get("CPU", 0):g} CPUs and {n["Resources"].get("GPU", 0):g} GPUs'
            for n in alive(ray)
        )
        raise ConfigError(
            f'no node has room for a worker with {share}; the nodes have {nodes}: give less with '
            '--cpus-per-worker and --gpus-per-worker'
        )
    return count


def alive(ray: Any) -> list[dict[str, Any]]:
    """The nodes of the cluster that are there."""
    return [node for node in ray.nodes() if node['Alive']]


def reason_of(error: BaseException) -> str:
    """The reason in an error of Ray, which has many lines, in one."""
    cause = getattr(error, 'cause', None)
    if isinstance(cause, BaseException):
        error = cause
    if 'died unexpectedly' in str(error):
        return 'its worker has died'
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = ''
    if lines:
        # a traceback ends with the reason
        text = lines[-1] if 'creation task' in lines[0] else lines[0]
    return f'{type(error).__name__}: {text}'
