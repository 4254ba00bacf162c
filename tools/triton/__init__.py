"""Starts a Triton server and talks to it."""
