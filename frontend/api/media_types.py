"""Which media type an answer gets: one JSON object, or JSON lines for clients that ask for them."""

from __future__ import annotations

from starlette.requests import Request

from frontend.i18n.quality_values import quality_values

JSON = "application/json"
NDJSON = "application/x-ndjson"
# This format has several names, and none is registered. The answer has the name that the client asked for.
LINE_TYPES = (NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines")


def negotiated_media_type(request: Request) -> str:
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
