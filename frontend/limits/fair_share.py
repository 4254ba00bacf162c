"""The one rule that decides how much of a shared resource a caller may hold."""

from __future__ import annotations

# A caller alone may hold three quarters of a resource; the last quarter is the reserve for the next caller. With n
# busy callers each may hold 3 / (3n + 1), so something is free for a newcomer until there are very many of them.
# This is the "dynamic threshold" of shared-memory switches (Choudhury and Hahne, 1998) with alpha = 3.
_SHARE_PER_FREE_UNIT = 3


def may_hold(held: int, wanted: int, free: int) -> bool:
    """Return whether a caller that holds `held` units may take `wanted` of the `free` ones.

    A caller that holds nothing may take what fits. Any other caller may hold three times what stays free afterwards.
    """
    return wanted <= free and (not held or held + wanted <= _SHARE_PER_FREE_UNIT * (free - wanted))
