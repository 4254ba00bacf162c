"""Fetches one file over HTTP: with limits on time, size and redirects, and one retry where that may help."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from traceback import clear_frames

import aiohttp
from aiohttp.abc import AbstractResolver
from anyio import CancelScope, current_effective_deadline, current_time
from yarl import URL

from frontend.download.address_policy import AddressPolicy
from frontend.download.connector import Refused
from frontend.download.decompression import BodyDecoder, UnreadableCompressionError
from frontend.download.host_slots import HostSlots
from frontend.download.redirects import MAX_REDIRECTS, redirect_target
from frontend.download.resolver import resolving_for
from frontend.download.response_protocol import ResponseFramingError
from frontend.errors import DownloadFailed, DownloadTimeout, ImageError, InvalidUrl, Overloaded, TooLarge
from frontend.limits.memory_budget import Reservation
from frontend.telemetry import request_stats

log = logging.getLogger(__name__)

_RETRY_PAUSE_SECONDS = (0.1, 0.4)  # if the server sends no Retry-After
_TEMPORARY = {502, 503, 504}  # worth one more try
_BUSY = {429, *_TEMPORARY}  # worth one more try if the server sends Retry-After


class _WorthRetrying(Exception):
    def __init__(self, failure: DownloadFailed, after_seconds: float | None = None) -> None:
        super().__init__(failure.code)
        self.failure = failure
        self.after_seconds = random.uniform(*_RETRY_PAUSE_SECONDS) if after_seconds is None else after_seconds  # noqa: S311  # spreads retries, hides nothing


class Fetcher:
    """Fetches over `session`, which connects only where `policy` allows. With a proxy, the proxy checks names."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        policy: AddressPolicy,
        timeout_seconds: float,
        max_bytes: int,
        resolver: AbstractResolver,
        proxy: str | None = None,
    ) -> None:
        self._session = session
        self._resolver = resolver
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._proxy = proxy
        self._host_slots = HostSlots()

    async def fetch(self, target: URL, reservation: Reservation) -> bytes:
        """Return the body behind `target`. Every byte of it is first acquired from `reservation`.

        Raises ImageError. The cause of a failure is logged; the error does not contain it.
        """
        with CancelScope(deadline=current_time() + self._timeout_seconds) as scope:
            reservation.on_evicted = scope.cancel
            try:
                with resolving_for(reservation.caller, scope.deadline):
                    body = await self._with_one_retry(target, reservation)
            except ImageError as failure:
                _free_frames(failure)
                raise
            reservation.complete()
            return body
        # The download waited for memory, or it stalled while others waited for that memory.
        if reservation.is_waiting or reservation.is_evicted:
            raise Overloaded()
        raise DownloadTimeout(seconds=self._timeout_seconds)

    async def _with_one_retry(self, target: URL, reservation: Reservation) -> bytes:
        try:
            return await self._follow(target, reservation)
        except _WorthRetrying as first:
            if current_time() + first.after_seconds >= current_effective_deadline():
                raise first.failure from first
            await asyncio.sleep(first.after_seconds)
        try:
            return await self._follow(target, reservation)
        except _WorthRetrying as again:
            raise again.failure from again

    async def _follow(self, target: URL, reservation: Reservation) -> bytes:
        found = await self._get(target, reservation)
        for _ in range(MAX_REDIRECTS):
            if isinstance(found, bytes):
                return found
            try:
                found = await self._get(found, reservation)
            except InvalidUrl as error:  # the redirect is invalid, not the user's own URL
                raise DownloadFailed(reason="redirect") from error
        if isinstance(found, bytes):
            return found
        raise DownloadFailed(reason="redirects")

    async def _get(self, target: URL, reservation: Reservation) -> bytes | URL:
        """Send one request. Return the body, or the URL that it redirects to."""
        if ":" in (target.raw_host or ""):  # aiohttp does not ask the resolver, which would do this
            await self._policy.nat64.discover(self._resolver)
        if self._proxy:
            self._policy.check_target(target.raw_host or "", target.port or 0)
        try:
            async with (
                self._host_slots.slot(f"{target.raw_host}:{target.port}", reservation.caller),
                self._session.get(target, allow_redirects=False, proxy=self._proxy) as response,
            ):
                if (redirected_to := redirect_target(target, response)) is not None:
                    return redirected_to
                self._check_head(response)
                return await self._read(response, reservation)
        except Refused as refused:
            log.info("download from %s refused: %s", _log_name(target), refused.failure.code)
            raise refused.failure from None  # `refused` has it as its cause: the two would refer to each other
        except aiohttp.ClientError as error:
            log.info("download from %s failed: %s", _log_name(target), _detail(error))
            failure = _translated(error)
            retry = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerDisconnectedError)
            if retry and not isinstance(error, aiohttp.ClientConnectorCertificateError):
                raise _WorthRetrying(failure) from error
            raise failure from error

    def _check_head(self, response: aiohttp.ClientResponse) -> None:
        if response.status != HTTPStatus.OK:
            failure = DownloadFailed(reason="status", status=response.status)
            after_seconds = _retry_after_seconds(response.headers.get("Retry-After", ""))
            if response.status in (_TEMPORARY if after_seconds is None else _BUSY):
                raise _WorthRetrying(failure, after_seconds)
            raise failure
        if (response.content_length or 0) > self._max_bytes:
            raise TooLarge(max=self._max_bytes)

    async def _read(self, response: aiohttp.ClientResponse, reservation: Reservation) -> bytes:
        """Read the body and decompress it if necessary. `max_bytes` limits both forms."""
        decoder = BodyDecoder(",".join(response.headers.getall("Content-Encoding", [])))
        chunks: list[bytes] = []
        raw_size = size = 0
        try:
            while True:
                raw = await response.content.readany()
                raw_size += len(raw)
                for chunk in decoder.decode(raw, is_last=not raw):
                    size += len(chunk)
                    if max(size, raw_size) > self._max_bytes:
                        raise TooLarge(max=self._max_bytes)
                    await reservation.acquire(len(chunk))
                    chunks.append(chunk)
                    if chunk is not raw:
                        await asyncio.sleep(0)  # a bomb must not keep the event loop busy
                if not raw:
                    return b"".join(chunks)
        except UnreadableCompressionError as error:
            raise DownloadFailed(reason="encoding") from error
        except EOFError as error:
            raise DownloadFailed(reason="incomplete") from error
        finally:
            request_stats.downloaded(raw_size)
            if not response.content.is_eof():  # aiohttp's reader and response refer to each other until its end
                response.content.set_exception(aiohttp.ClientConnectionError("nobody reads the rest"))


def _free_frames(failure: BaseException) -> None:
    """Free what the finished frames in the traceback of `failure` hold, such as half a body.

    The failure is in a reference cycle with the task that it ended, so all of it would stay until a garbage collection.
    Several downloads may have the same other errors, such as that of a DNS lookup: their frames may still be running.
    """
    freed: list[BaseException] = []
    error: BaseException | None = failure
    while isinstance(error, ImageError | aiohttp.ClientError | _WorthRetrying) and error not in freed:
        clear_frames(error.__traceback__)
        freed.append(error)
        error = error.__cause__


def _retry_after_seconds(value: str) -> float | None:
    """Return the seconds to wait that a Retry-After header names, as a number or as a date, or None."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0)
    except (ValueError, OverflowError):
        return None


def _log_name(target: URL) -> str:
    """Return the URL for the log: without its query, which may hold a secret, and with a shortened path."""
    return f"{target.scheme}://{target.raw_host}:{target.port}{target.raw_path[:200]}"


def _detail(error: aiohttp.ClientError) -> str:
    # The text of a response's error quotes the whole URL. Its message does not.
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return f"{type(error).__name__}: {text!r:.300}"


def _translated(error: aiohttp.ClientError) -> DownloadFailed:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return DownloadFailed(reason="dns")
    if isinstance(error, aiohttp.ClientSSLError):
        return DownloadFailed(reason="tls")
    if isinstance(error, aiohttp.ClientPayloadError):
        return DownloadFailed(reason="incomplete")
    if isinstance(error, aiohttp.ClientResponseError | ResponseFramingError):
        return DownloadFailed(reason="protocol")
    return DownloadFailed(reason="connection")
