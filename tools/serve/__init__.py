"""Runs Triton and the frontend in the foreground and restarts what fails."""
