# SPDX-License-Identifier: Apache-2.0
"""Glance's API as this host reaches it: the connection for an upload, and what is in its way."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.parse

# How long Glance may take to let itself be connected to, and to answer what takes no work.
CONNECT_TIMEOUT_S = 20
# What the kernel sends on a silent connection, so that a peer that is gone is noticed.
KEEPALIVE = (
    ("TCP_KEEPIDLE", 60),
    ("TCP_KEEPINTVL", 15),
    ("TCP_KEEPCNT", 8),
)
PIECE_BYTES = 1024 * 1024


def connected(url: str, authority: str) -> http.client.HTTPConnection:
    """Return a connection to Glance, which may be silent for as long as it works.

    :param url: Glance's endpoint
    :param authority: certificates of authorities that it is trusted by beside those of the host
    :raises OSError: when it is not reached, or not trusted
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if authority:
            # Bundles have comments between the certificates, in whatever language.
            context.load_verify_locations(cadata=authority.encode("ascii", "replace").decode())
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.netloc, timeout=CONNECT_TIMEOUT_S, context=context, blocksize=PIECE_BYTES
        )
    else:
        connection = http.client.HTTPConnection(
            parts.netloc, timeout=CONNECT_TIMEOUT_S, blocksize=PIECE_BYTES
        )
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        connection.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def why_out_of_reach(url: str, authority: str) -> str:
    """Return what keeps this host from Glance, empty when nothing does."""
    try:
        connection = connected(url, authority)
        try:
            connection.request("GET", urllib.parse.urlsplit(url).path or "/")
            status = connection.getresponse().status
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as err:
        return f"its certificate is not trusted: {err.verify_message}"
    except (OSError, http.client.HTTPException) as err:
        return str(err)
    return f"it answers with status {status}" if status >= 500 else ""
