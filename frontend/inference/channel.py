"""The options of a gRPC channel to one Triton server."""

from __future__ import annotations

from typing import Any


def channel_options() -> list[tuple[str, Any]]:
    """Return gRPC's channel arguments.

    gRPC itself retries no call, because its retry policy sees only the status and not the message: an image that kills
    the Python process that decodes it would kill one on each attempt. attempts.py decides what is sent again.
    """
    return [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # A server that hangs keeps its connections open. Only an unanswered ping reveals it.
        ("grpc.keepalive_time_ms", 5_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),  # for pings sent for other reasons; the default is a minute
        # The defaults, one second that grows to two minutes, would outlast a restart of Triton.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 250),
        # Despite its name this is the time allowed for one connection attempt; the default is 20 seconds.
        ("grpc.min_reconnect_backoff_ms", 2_000),
        # By default grpc_proxy, https_proxy and http_proxy would apply, even to 127.0.0.1.
        ("grpc.enable_http_proxy", 0),
    ]
