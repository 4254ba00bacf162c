"""Limits simultaneous connections to each host, and shares them among the callers that download from it."""

from __future__ import annotations

from frontend.limits.fair_semaphore import FairSemaphore, Holder

# aiohttp can bound the connections to a host, but first come, first served: one caller could keep others from a host.
_SLOTS_PER_HOST = 16


class HostSlots:
    """Keeps the slots of each host that a download uses or waits for now."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    def slot(self, host: str, caller: str) -> _Slot:
        """Return a context that waits for a slot of `host`, and holds it until it ends."""
        return _Slot(self._hosts, host, caller)


class _Host:
    """The slots of one host, and how many downloads hold or want one."""

    def __init__(self) -> None:
        self.slots = FairSemaphore(_SLOTS_PER_HOST)
        self.downloads = 0


class _Slot:
    """A context manager that holds one slot of a host.

    A class, because each image needs one and a generator with @asynccontextmanager takes four times as long.
    """

    def __init__(self, hosts: dict[str, _Host], name: str, caller: str) -> None:
        self._hosts = hosts
        self._name = name
        self._holder = Holder(caller)

    async def __aenter__(self) -> None:
        if (host := self._hosts.get(self._name)) is None:
            host = self._hosts[self._name] = _Host()
        self._host = host
        host.downloads += 1
        try:
            await host.slots.acquire(self._holder)
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._host.slots.release(self._holder)
        self._leave()

    def _leave(self) -> None:
        self._host.downloads -= 1
        if not self._host.downloads:
            del self._hosts[self._name]
