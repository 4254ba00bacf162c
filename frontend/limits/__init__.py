"""How callers share scarce resources: admission, slots, memory and workers."""
