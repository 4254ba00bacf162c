"""The HTTP API: routes, request and response schemas, streamed answers and uploads."""
