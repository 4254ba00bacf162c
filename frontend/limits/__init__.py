"""Shares of what is scarce: admission, slots, memory and workers."""
