"""Ports that are free right now."""

from tools.serve.ports import free_port, free_triton_ports

__all__ = ["free_port", "free_triton_ports"]
