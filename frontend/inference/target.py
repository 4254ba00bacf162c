"""The value of BIRDS_TRITON_URL: the addresses of the Triton servers, or a name that has these addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

_HOST_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_DNS = re.compile(r"dns:(?://(?P<name_server>[A-Za-z0-9._:\[\]-]*)/)?(?P<name>[A-Za-z0-9._-]+:[0-9]{1,5})")
_DNS_PORT = 53
# RFC 1035, 2.3.4; a name may end with a dot.
_MAX_LABEL_CHARACTERS = 63
_MAX_NAME_CHARACTERS = 253
_FORMS = "host:port, ip:port,ip:port,… or dns:///name:port"


@dataclass(frozen=True)
class HostPort:
    """An IP address or a name, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_address(self) -> bool:
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True


@dataclass(frozen=True)
class TritonTarget:
    """Either fixed addresses, or one name that is looked up repeatedly.

    If `name_server` is None, the system's resolver looks it up.
    """

    hosts: tuple[HostPort, ...]
    name_server: HostPort | None = None

    @property
    def is_fixed(self) -> bool:
        return all(host.is_address for host in self.hosts)


def triton_target(url: str) -> TritonTarget:
    """Parse a value of BIRDS_TRITON_URL.

    It has one of three forms: `host:port`; several `ip:port` separated by commas, for servers that keep their address;
    or `dns:///name:port`, for all addresses that a name has (`dns://server/name:port` asks that name server).
    Raises ValueError for anything else.
    """
    if dns := _DNS.fullmatch(url):
        name_server = _host_port(dns["name_server"], _DNS_PORT) if dns["name_server"] else None
        return TritonTarget((_host_port(dns["name"]),), name_server)
    hosts = tuple(_host_port(part.strip()) for part in url.split(","))
    if len(hosts) > 1:
        for host in hosts:
            if not host.is_address:
                raise ValueError(f"{host.host!r} is not an IP address; for a name write dns:///name:port")
        if len({ip_address(host.host).version for host in hosts}) > 1:
            raise ValueError("a list must hold IPv4 or IPv6 addresses, not both")
    return TritonTarget(hosts)


def _host_port(text: str, default_port: int | None = None) -> HostPort:
    if default_port is not None and not _HOST_PORT.fullmatch(text):
        text = f"{text}:{default_port}"
    match = _HOST_PORT.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"{text!r} must have one of the forms {_FORMS}")
    host = HostPort(match["host"].strip("[]"), int(match["port"]))
    if not host.is_address:
        _check_name(host.host)
    return host


def _check_name(name: str) -> None:
    name = name.removesuffix(".")
    if len(name) > _MAX_NAME_CHARACTERS or not all(
        1 <= len(label) <= _MAX_LABEL_CHARACTERS for label in name.split(".")
    ):
        raise ValueError(
            f"{name!r} is not a DNS name: it may have at most {_MAX_NAME_CHARACTERS} characters, and 1 to "
            f"{_MAX_LABEL_CHARACTERS} in each part between dots"
        )
