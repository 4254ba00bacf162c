"""What Triton says in its error messages, by which failures are told apart that share a status."""

QUEUE_FULL = "Exceeds maximum queue size"
QUEUE_TIMEOUT = "Request timeout expired"
STUB_DEAD = "is not healthy"  # a Python process of Triton's; no later request will fare better
