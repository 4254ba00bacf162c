"""gRPC to the Triton of this machine: never through a proxy, whatever grpc_proxy or http_proxy says."""

from __future__ import annotations

import tritonclient.grpc

# tritonclient's own defaults, which channel_args replace, and no proxy.
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)


def connect(url: str) -> tritonclient.grpc.InferenceServerClient:
    """Return a client of the Triton at `url` (host:port), to be closed."""
    return tritonclient.grpc.InferenceServerClient(url, channel_args=list(CHANNEL_OPTIONS))
