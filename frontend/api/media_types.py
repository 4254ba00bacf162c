"""Which media type a body has, and which one the answer gets: one JSON object, or JSON lines if the client asks."""

from __future__ import annotations

from multipart import parse_options_header
from starlette.requests import Request

from frontend.i18n.quality_values import quality_values

JSON = "application/json"
NDJSON = "application/x-ndjson"
# This format has several names, and none is registered. The answer has the name that the client asked for.
LINE_TYPES = (NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines")
# The rest of a Content-Type is ignored: 60 kB of parameters took 11 ms. A boundary has at most 70 characters.
_MAX_CHARACTERS = 1_000


def content_type(request: Request) -> tuple[str, dict[str, str]]:
    """Return the media type of the request's body, empty if it has none, and the type's parameters."""
    media_type, parameters = parse_options_header(request.headers.get("content-type", "")[:_MAX_CHARACTERS])
    return media_type, parameters


def negotiate_media_type(request: Request) -> str:
    """Return JSON or one of LINE_TYPES, whichever the Accept header prefers.

    Lines are sent only to clients that name one of LINE_TYPES; `*/*` stands for JSON. At equal quality lines win,
    because a client that names both can read both.
    """
    accepted = quality_values(", ".join(request.headers.getlist("accept")))
    lines = [name for name in accepted if name in LINE_TYPES]
    if not lines:
        return JSON
    best = max(lines, key=lambda name: accepted[name])
    json_quality = next((accepted[name] for name in (JSON, "application/*", "*/*") if name in accepted), 0.0)
    return best if accepted[best] > 0 and accepted[best] >= json_quality else JSON
