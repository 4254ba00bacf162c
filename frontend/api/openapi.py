"""Parts of the OpenAPI document that FastAPI cannot derive from the code."""

from __future__ import annotations

from typing import Any

from frontend.api.media_types import NDJSON
from frontend.api.schemas import FILES_FIELD, ClassifyRequest, ClassifyResponse, ImageLine, TotalsLine

Responses = dict[int | str, dict[str, Any]]

_NDJSON_CONTENT = {
    "schema": {
        "type": "string",
        "format": "ndjson",
        "description": "Selected by the Accept header. Each line is one JSON object: an ImageLine for each image as "
        "soon as it is done, in any order, and a TotalsLine at the end.",
        "x-line-schemas": [ImageLine.model_json_schema(), TotalsLine.model_json_schema()],
    },
    "examples": {
        "two images": {
            "value": '{"url":"https://example.org/a.jpg","predictions":[{"bird_name":"Ara macao","common_name":'
            '"Scarlet Macaw","score":0.7345}]}\n'
            '{"url":"https://example.org/b.jpg","failure":{"code":"not_an_image","message":'
            '"The file is not an image, or it is damaged"}}\n'
            '{"succeeded":1,"failed":1,"time_taken":0.42,"status":200,"errors":[]}\n'
        }
    },
}

CLASSIFY_RESPONSES: Responses = {
    200: {"content": {NDJSON: _NDJSON_CONTENT}},
    400: {
        "description": "Not a valid HTTP request, or its address and headers take more than 64 kB",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
    401: {
        "model": ClassifyResponse,
        "description": "This service requires an API key, and the request has no valid key",
    },
    403: {"model": ClassifyResponse, "description": "This service does not answer to the name in the Host header"},
    408: {"model": ClassifyResponse, "description": "The body took too long to arrive"},
    413: {"model": ClassifyResponse, "description": "The body is too large"},
    422: {"model": ClassifyResponse, "description": "The request does not have the documented form"},
    429: {
        "model": ClassifyResponse,
        "description": "Too many images were requested in a short time. Retry-After says how long to wait",
    },
    503: {
        "model": ClassifyResponse,
        "description": "The service is too busy, or the inference server is not available. Retry-After says how long "
        "to wait",
    },
}
MODELS_RESPONSES: Responses = {status: CLASSIFY_RESPONSES[status] for status in (401, 403, 429, 503)}
READY_RESPONSES: Responses = {503: {"description": "The inference fails", "content": {"application/json": {}}}}

# FastAPI does not read the bodies of these two routes (see requests.py and uploads.py), so it cannot describe them.
URL_REQUEST_BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": ClassifyRequest.model_json_schema()}}}
}
UPLOAD_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FILES_FIELD],
                    "properties": {
                        FILES_FIELD: {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        },
                    },
                    "additionalProperties": False,
                }
            }
        },
    }
}
