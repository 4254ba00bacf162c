"""The smallest question that only a whole, working pipeline can answer: one grey pixel as a PNG."""

import base64

PROBE_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
# The level of the models' queues that is for probes alone: they neither wait behind users' images nor are refused with
# them, so a probe that fails means a pipeline that is broken, not one that is busy.
PROBE_PRIORITY = 1
