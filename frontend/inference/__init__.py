"""The only room that knows Triton: channel, calls, model versions and readiness."""
