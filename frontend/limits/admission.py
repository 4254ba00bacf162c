"""Which requests are taken on: those whose turn comes soon. The others are refused at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import current_time

from frontend.errors import ServiceOverloaded

# A request may wait for so many times the images that it brings itself.
_WAIT_PER_OWN_IMAGE = 3
# Seconds over which the pace of the last images is averaged.
_PACE_SECONDS = 5.0


class Admission:
    """Bounds the images that are admitted and not yet done.

    Slots are shared fairly, so what a request of n images waits for is at most n images of every other request. That
    may be `max_backlog` images and three times its own: a short one is refused only when there are many others, a
    long one as soon as a few others are as long.
    """

    def __init__(self, max_backlog: int) -> None:
        self._max_backlog = max_backlog
        self._claims: set[AdmissionTicket] = set()
        self._pace = 0.0  # images a second
        self._paced_at = float("-inf")

    @property
    def unfinished(self) -> int:
        """Images that are admitted and not yet done."""
        return sum(claim.remaining for claim in self._claims)

    @contextmanager
    def admit(self, images: int, deadline: float) -> Iterator[AdmissionTicket]:
        """Take on a request of so many images, until the context ends. Raises ServiceOverloaded.

        After `deadline`, on the event loop's clock, its images wait for nothing any more and hold up nobody.
        """
        now = current_time()
        ahead = sum(min(claim.remaining, images) for claim in self._claims if claim.deadline > now)
        excess = ahead - self._max_backlog - _WAIT_PER_OWN_IMAGE * images
        if excess > 0:
            raise ServiceOverloaded(seconds=self._seconds_for(excess, now))
        claim = AdmissionTicket(self, images, deadline)
        self._claims.add(claim)
        try:
            yield claim
        finally:
            self._claims.discard(claim)

    def count_done(self) -> None:
        """One more image is done: what the pace is measured by."""
        now = current_time()
        self._pace = self._pace_at(now) + 1 / _PACE_SECONDS
        self._paced_at = now

    def _pace_at(self, now: float) -> float:
        return self._pace * math.exp((self._paced_at - now) / _PACE_SECONDS)

    def _seconds_for(self, images: int, now: float) -> int:
        """How long so many images take at the present pace: from 1 to 60 seconds."""
        return math.ceil(min(max(images / max(self._pace_at(now), 0.1), 1), 60))


class AdmissionTicket:
    """What one request still has to do; compared by identity."""

    def __init__(self, admission: Admission, images: int, deadline: float) -> None:
        self.remaining = images
        self.deadline = deadline
        self._admission = admission

    def done(self) -> None:
        """One image is done. A request that was admitted with a guess stays in view until it ends."""
        self.remaining = max(self.remaining - 1, 1)
        self._admission.count_done()
