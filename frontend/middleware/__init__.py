"""ASGI middleware around every request: access log, deadline, authentication, rate limit, body limit and paths."""
