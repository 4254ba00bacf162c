"""What the service says about itself: request statistics, metrics, traces, logs and request ids."""
