"""Talks to a Triton server and starts one."""
