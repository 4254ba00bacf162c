"""How the channel to Triton is set up: which servers, who gets the next request, what is asked for again.

All of it is gRPC's own: a service config, which the channel heeds on every call, whoever makes it.
"""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from typing import Any

_HOST_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_DNS = re.compile(r"dns:(//[A-Za-z0-9._:\[\]-]*/)?[A-Za-z0-9._-]+:[0-9]{1,5}")
_FORMS = "host:port, ip:port,ip:port,… or dns:///name:port"


def channel_target(url: str) -> str:
    """What gRPC is to connect to, for a value of BIRDS_TRITON_URL.

    That is one `host:port`; several `ip:port` with commas between, which are servers that stay where they are; or
    `dns:///name:port`, all addresses that the name has, asked for again whenever a connection is lost. Raises
    ValueError for anything else; names in a list, because gRPC would never look them up again.
    """
    if _DNS.fullmatch(url):
        return url
    servers = [server.strip() for server in url.split(",")]
    matches = [_HOST_PORT.fullmatch(server) for server in servers]
    hosts = [match["host"].strip("[]") for match in matches if match]
    if len(hosts) < len(servers) or not all(1 <= int(match["port"]) <= 65535 for match in matches if match):
        raise ValueError(f"{url!r} is none of {_FORMS}")
    if len(servers) == 1:
        return servers[0]
    try:
        versions = {ip_address(host).version for host in hosts}
    except ValueError as error:
        raise ValueError(f"{error}: a list holds IP addresses; for a name write dns:///name:port") from error
    if len(versions) > 1:
        raise ValueError("a list holds IPv4 or IPv6 addresses, not both")
    return f"ipv{versions.pop()}:{','.join(servers)}"


def channel_options() -> list[tuple[str, Any]]:
    """gRPC's channel arguments."""
    return [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # An attempt can be repeated only while the request is kept; by default that ends at 256 KiB.
        ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
        # A server that stands still keeps its connections: only a ping that stays unanswered tells.
        ("grpc.keepalive_time_ms", 5_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),  # of pings that are under way for other reasons: a minute by default
        # The defaults, two minutes and 20 seconds, would outlast a restart of Triton.
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.min_reconnect_backoff_ms", 2_000),
        # A name is asked for again when a connection is lost, but not more often than this.
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ]


_ROUND_ROBIN: dict[str, Any] = {"round_robin": {}}
# A server with dead Python processes answers, and says that it is healthy. Where nearly all its requests fail and
# another server can be had, it gets none for a while. A server that is merely full still answers some.
_WITHOUT_THE_SICK: dict[str, Any] = {
    "outlier_detection_experimental": {
        "interval": "1s",
        "baseEjectionTime": "3s",
        "maxEjectionTime": "10s",
        "maxEjectionPercent": 50,
        "failurePercentageEjection": {
            "threshold": 95,
            "enforcementPercentage": 100,
            "minimumHosts": 2,
            "requestVolume": 1,
        },
        "childPolicy": [_ROUND_ROBIN],
    }
}
_SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [_WITHOUT_THE_SICK, _ROUND_ROBIN],  # the first that this gRPC knows
    "methodConfig": [
        {
            # All of these may be repeated: nothing that they do outlasts the answer. But an image that kills the
            # Python process which decodes it would kill one on each server that it is sent to.
            "name": [
                {"service": "inference.GRPCInferenceService", "method": method}
                for method in ("ModelInfer", "ModelConfig", "ServerMetadata")
            ],
            # Each attempt goes to the next server, within the call's one deadline; with other calls between, the next
            # may be the same, hence four more. UNAVAILABLE is a lost connection, a full queue or a server that is
            # stopping, INTERNAL a dead Python process, NOT_FOUND a version that this server does not have.
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "INTERNAL", "NOT_FOUND"],
            },
        }
    ],
    # A failed attempt takes a token and a success gives one back; with half of them gone nothing is repeated. So
    # there are no more repetitions than successes, whatever the load, once 500 have been spent: enough for all
    # that is under way on a server that dies.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 1},
}
