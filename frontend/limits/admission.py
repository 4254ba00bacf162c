"""Which requests are accepted: those that start soon. All others are refused at once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import current_time

from frontend.errors import ServiceOverloaded

# A request may wait for this many times its own number of images.
_WAIT_PER_OWN_IMAGE = 3
# A full backlog is done in a few seconds. Random, so that refused clients do not all come back at the same moment.
_RETRY_AFTER_SECONDS = (1, 5)


class Admission:
    """Bounds the images that are accepted and not yet done.

    Slots are shared fairly: first among callers, then among the requests of a caller. A new request with n images
    therefore waits for at most n images of each other request of its caller. Let s be the sum of these. It also waits
    for at most s + n images of each other caller. It is refused if all these images are more than `max_backlog` plus
    three times n. Many requests from one caller therefore lead to refusals for that caller only.
    """

    def __init__(self, max_backlog: int) -> None:
        self._max_backlog = max_backlog
        self._tickets: set[AdmissionTicket] = set()

    @property
    def unfinished(self) -> int:
        """Images that are accepted and not yet done."""
        return sum(ticket.remaining for ticket in self._tickets)

    @property
    def is_full(self) -> bool:
        """Whether a new request could be refused. At most all unfinished images are ahead of it."""
        return self.unfinished > self._max_backlog

    def would_refuse(self, caller: str, images: int = 1) -> ServiceOverloaded | None:
        """Return the error with which `admit` would refuse such a request now, or None.

        Cheap and without side effects: middleware calls it before a body is read, when it knows only that a request
        has at least one image.
        """
        if self._ahead_of(caller, images) <= self._max_backlog + _WAIT_PER_OWN_IMAGE * images:
            return None
        return ServiceOverloaded(seconds=random.randint(*_RETRY_AFTER_SECONDS))  # noqa: S311  # hides nothing

    @contextmanager
    def admit(self, caller: str, images: int, deadline: float) -> Iterator[AdmissionTicket]:
        """Count `images` of `caller` as accepted until the context ends. Raises ServiceOverloaded.

        `deadline` is on the event loop's clock. After it the images wait for nothing and delay nobody.
        """
        if refusal := self.would_refuse(caller, images):
            raise refusal
        ticket = AdmissionTicket(caller, images, deadline)
        self._tickets.add(ticket)
        try:
            yield ticket
        finally:
            self._tickets.discard(ticket)

    def _ahead_of(self, caller: str, images: int) -> int:
        """Return how many images of others at most are served before a new request of `caller` is done."""
        now, own, others = current_time(), 0, Counter[str]()
        for ticket in self._tickets:
            if ticket.deadline <= now:
                continue
            if ticket.caller == caller:
                own += min(ticket.remaining, images)
            else:
                others[ticket.caller] += ticket.remaining
        return own + sum(min(remaining, own + images) for remaining in others.values())


class AdmissionTicket:
    """The unfinished images of one accepted request. Compared by identity."""

    def __init__(self, caller: str, images: int, deadline: float) -> None:
        self.caller = caller
        self.remaining = images
        self.deadline = deadline

    def image_done(self) -> None:
        """Count one image as done. A request admitted on an estimate counts as at least one image until it ends."""
        self.remaining = max(self.remaining - 1, 1)
