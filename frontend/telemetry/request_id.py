"""The id of a request, which answers, logs, traces and Triton share."""

from __future__ import annotations

import re
import secrets

HEADER = "X-Request-ID"
_ACCEPTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


def request_id(offered: str | None) -> str:
    """Return the id that a client or proxy sent, if it is short and plain; otherwise a new one of 32 hex digits."""
    if offered and _ACCEPTED.fullmatch(offered):
        return offered
    return secrets.token_hex(16)
