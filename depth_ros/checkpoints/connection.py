# SPDX-License-Identifier: Apache-2.0
"""Whether a server can be reached, before a client waits for it much longer."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies


def try_connection(url: str, timeout_s: float = 5.0) -> None:
    """Open a connection to the server of a URL and close it; nothing is done behind a proxy.

    Raises:
        OSError: no connection can be opened.
    """
    if getproxies():  # the client knows what to do with them
        return
    server = urlsplit(url)
    port = server.port or {'https': 443, 'http': 80}[server.scheme]
    socket.create_connection((server.hostname or '', port), timeout_s).close()
