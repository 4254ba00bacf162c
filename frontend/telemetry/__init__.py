"""Request statistics, metrics, traces, logs and request ids."""
