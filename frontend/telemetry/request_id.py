"""The name by which one request is known in answers, logs, traces and Triton."""

from __future__ import annotations

import re
import secrets

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


def request_id(offered: str | None) -> str:
    """The id that a client or a proxy sent, if it is short and plain; else a new one of 32 hexadecimal digits."""
    if offered and _SANE.fullmatch(offered):
        return offered
    return secrets.token_hex(16)
