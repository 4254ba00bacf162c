"""Looks up the addresses of a Triton name, with the system's resolver or at one name server."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from anyio import fail_after

from frontend.inference.target import HostPort, TritonTarget

_A, _AAAA, _IN = 1, 28, 1
_RECURSION_DESIRED = 0x0100
_TRUNCATED = 0x0200
_TIMEOUT_SECONDS = 1.0
_HEADER = struct.Struct("!HHHHHH")


class LookupFailed(Exception):
    """The name has no addresses, or no name server answered."""


async def look_up(target: TritonTarget) -> list[HostPort]:
    """Return every address that `target` has now, sorted. Raises LookupFailed."""
    if target.is_fixed:
        return list(target.hosts)
    (name,) = target.hosts
    try:
        if target.name_server is None:
            found = await asyncio.get_running_loop().getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
            addresses = {str(entry[4][0]) for entry in found}
        else:
            kinds = [_ask(target.name_server, name.host, kind) for kind in (_A, _AAAA)]
            addresses = set().union(*await asyncio.gather(*kinds))
    except (OSError, TimeoutError, ValueError) as error:
        raise LookupFailed(f"{name.host} was not found: {error or 'the name server did not answer'}") from error
    if not addresses:
        raise LookupFailed(f"{name.host} has no addresses")
    return sorted((HostPort(address, name.port) for address in addresses), key=str)


class _LookupProtocol(asyncio.DatagramProtocol):
    """Waits for the datagram that answers one query."""

    def __init__(self, query_id: int) -> None:
        self._query_id = query_id
        self.received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if len(data) >= _HEADER.size and _HEADER.unpack_from(data)[0] == self._query_id and not self.received.done():
            self.received.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.received.done():
            self.received.set_exception(exc)


async def _ask(name_server: HostPort, name: str, kind: int) -> set[str]:
    """Send one query and return the addresses in the answer; an unknown name has none.

    An answer over UDP has at most 512 bytes, enough for about 28 addresses. A longer one is asked for again over TCP.
    """
    query_id = secrets.randbits(16)
    labels = b"".join(bytes([len(label)]) + label for label in name.rstrip(".").encode("ascii").split(b"."))
    query = _HEADER.pack(query_id, _RECURSION_DESIRED, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, _IN)
    try:
        with fail_after(_TIMEOUT_SECONDS):
            answer = await _answer_over_udp(name_server, query_id, query)
            if _HEADER.unpack_from(answer)[1] & _TRUNCATED:
                answer = await _answer_over_tcp(name_server, query)
        return _addresses_in(answer, kind)
    except (struct.error, IndexError, ValueError) as error:
        raise OSError("the name server's answer is malformed") from error


async def _answer_over_udp(name_server: HostPort, query_id: int, query: bytes) -> bytes:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _LookupProtocol(query_id), remote_addr=(name_server.host, name_server.port)
    )
    try:
        transport.sendto(query)
        return await protocol.received
    finally:
        transport.close()


async def _answer_over_tcp(name_server: HostPort, query: bytes) -> bytes:
    """Over TCP, the length of each message precedes it (RFC 1035, 4.2.2)."""
    reader, writer = await asyncio.open_connection(name_server.host, name_server.port)
    try:
        writer.write(struct.pack("!H", len(query)) + query)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    except EOFError as error:
        raise OSError("the name server closed the connection") from error
    finally:
        writer.close()


def _addresses_in(message: bytes, kind: int) -> set[str]:
    _, _, questions, answers, _, _ = _HEADER.unpack_from(message)
    position = _HEADER.size
    for _ in range(questions):
        position = _after_name(message, position) + 4
    addresses = set()
    for _ in range(answers):
        position = _after_name(message, position)
        record_kind, _, _, size = struct.unpack_from("!HHIH", message, position)
        position += 10
        if record_kind == kind:
            packed = message[position : position + size]
            addresses.add(str(IPv4Address(packed) if kind == _A else IPv6Address(packed)))
        position += size
    return addresses


def _after_name(message: bytes, position: int) -> int:
    """Return the position after a name: labels until an empty one, or a two-byte reference to an earlier name."""
    while size := message[position]:
        if size >= 0xC0:
            return position + 2
        position += 1 + size
    return position + 1
