"""Reading a multipart body: the forms that clients send, and the cost of hostile ones."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import aclosing, suppress
from math import inf

import pytest
from anyio import fail_after
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from frontend.api.uploads import Upload
from frontend.errors import (
    FieldBelongsInQuery,
    InvalidUpload,
    NoImages,
    ServiceError,
    TooManyImages,
    UnknownFormField,
)
from frontend.i18n.messages import service_error_message
from frontend.limits.memory_budget import MemoryBudget
from frontend.middleware.request_context import RequestContext

MAX_IMAGES = 1000
END = b"--b--\r\n"


def part(disposition: bytes | None, content: bytes = b"image", more: bytes = b"") -> bytes:
    header = b"" if disposition is None else b"Content-Disposition: form-data; " + disposition + b"\r\n"
    return b"--b\r\n" + header + more + b"\r\n" + content + b"\r\n"


def upload_of(chunks: Iterable[bytes], budget: MemoryBudget | None = None) -> Upload:
    """Return the upload of a request whose body arrives in these chunks."""
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        if isinstance(chunks, list)
        else ({"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks)
    )
    return upload_in(messages, budget)


def upload_in(messages: Iterator[Message], budget: MemoryBudget | None = None) -> Upload:
    async def receive() -> Message:
        return next(messages, {"type": "http.request", "body": b"", "more_body": False})

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    return Upload(request, MAX_IMAGES, 1_000_000, RequestContext("caller", inf), budget or MemoryBudget(10_000_000))


async def read_all(upload: Upload) -> None:
    async with aclosing(upload.images()) as images:
        async for _ in images:
            pass


async def files(*parts: bytes, chunk_bytes: int = 1 << 16) -> dict[str, bytes]:
    """Return the content of each file of an upload by its name."""
    body = b"".join([*parts, END])
    upload = upload_of([body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)])
    found = {}
    async with aclosing(upload.images()) as images:
        async for image in images:
            async with image.open() as content:
                found[image.name] = content
    return found


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b'name="files"; filename="a.jpg"', "a.jpg"),
        (b'name="files[]"; filename="a.jpg"', "a.jpg"),
        (b'name="files[0]"; filename="a.jpg"', "a.jpg"),
        (b'name="file"; filename="a.jpg"', "a.jpg"),
        (b'name="image"; filename="a.jpg"', "a.jpg"),
        (b'name="anything"; filename="a.jpg"', "a.jpg"),
        (b"name=files; filename=a.jpg", "a.jpg"),
        (b'filename="a.jpg"; name="files"', "a.jpg"),
        (b'filename="a.jpg"', "a.jpg"),
        ('name="files"; filename="é鳥.jpg"'.encode(), "é鳥.jpg"),
        ('name="files"; filename="é.jpg"'.encode("latin-1"), "é.jpg"),
        (b'name="files"; filename="\x92\xb9.jpg"', "\x92\xb9.jpg"),  # Shift JIS, shown as Latin-1
        (b'name="files"; filename="\xff\xfe.jpg"', "ÿþ.jpg"),
        (b"name=\"files\"; filename*=UTF-8''%C3%A9%20b.jpg", "é b.jpg"),
        (b'name="files"; filename*=utf-8\'en\'%C3%A9.jpg; filename="e.jpg"', "é.jpg"),
        (b"name=\"files\"; filename*=iso-8859-1''%E9.jpg", "é.jpg"),
        (b'name="files"; filename*=nonsense\'\'%E9.jpg; filename="e.jpg"', "e.jpg"),
        (b"name=\"files\"; filename*=UTF-8''%FF.jpg", "file"),
        (b"name=\"files\"; filename*=unicode_escape''%5Cud800.jpg", "file"),
        (b'name="files"; filename="C:\\photos\\a.jpg"', "a.jpg"),
        (b'name="files"; filename="say \\"hi\\".jpg"', 'say "hi".jpg'),
        (b'name="files"; filename="%22a%22.jpg"', '"a".jpg'),
        (b'name="files"; filename=""', ""),
    ],
)
async def test_file_names_of_many_clients_are_read(disposition: bytes, name: str) -> None:
    good = part(b'name="files"; filename="good.jpg"', b"good")
    assert await files(good, part(disposition)) == {"good.jpg": b"good", name: b"image"}


@pytest.mark.parametrize("content_type", [b"image/jpeg", b"image/png; charset=binary", b"application/octet-stream"])
async def test_image_part_without_a_file_name_is_a_file(content_type: bytes) -> None:
    more = b"Content-Type: " + content_type + b"\r\n"
    unnamed = part(b'name="files"', b"1", more), part(b'name="files"', b"2", more), part(None, b"3", more)
    assert await files(*unnamed) == {"file": b"1", "file (2)": b"2", "file (3)": b"3"}


@pytest.mark.parametrize(
    "more",
    [b"", b"no colon\r\n", b": no name\r\n", b"\xff\xfe: x\r\n", b"Content-Length: 3\r\n", b"Content-Length: x\r\n"],
)
async def test_bad_headers_of_a_part_fail_no_other(more: bytes) -> None:
    good = part(b'name="files"; filename="good.jpg"', b"good")
    assert await files(good, part(None, b"bad", more)) == {"good.jpg": b"good", "file": b"bad"}


async def test_disconnect_is_noticed_while_files_wait() -> None:
    """The body has arrived, but its last files are not taken yet: the images before them are slow."""
    body = part(b'name="files"; filename="a"') + part(b'name="files"; filename="b"') + END
    received: Message = {"type": "http.request", "body": body, "more_body": False}
    upload = upload_in(iter([received, {"type": "http.disconnect"}]))
    async with aclosing(upload.images()) as images:
        await anext(images)
        with fail_after(10):
            await upload.client_disconnected()
    assert upload.names == ["a"]
    assert not upload.is_complete


async def test_equal_file_names_are_numbered() -> None:
    names = [b"a", b"a", b"a (2)", b"a", b"a (3)", b"a"]
    parts = [part(b'name="files"; filename="%b"' % name, b"%d" % n) for n, name in enumerate(names)]
    assert list(await files(*parts)) == ["a", "a (2)", "a (2) (2)", "a (3)", "a (3) (2)", "a (4)"]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 64])
async def test_chunk_boundaries_do_not_matter(chunk_bytes: int) -> None:
    parts = [part(b'name="files"; filename="%d"' % n, b"\r\n--" * n) for n in range(5)]
    assert await files(*parts, chunk_bytes=chunk_bytes) == {str(n): b"\r\n--" * n for n in range(5)}


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (b'name="k"', FieldBelongsInQuery, "Send k as a query parameter: POST /files?k=…"),
        (b'name="zoom"', UnknownFormField, "Unknown field: zoom"),
        (b'name="' + b"z" * 4000 + b'"', UnknownFormField, "Unknown field: " + "z" * 100),
        (
            b'name="file[]"',
            InvalidUpload,
            "The body must be multipart/form-data, with each image as a file in the field files",
        ),
    ],
    ids=["query parameter", "unknown", "long name", "text instead of a file"],
)
async def test_text_field_is_refused(bad: bytes | None, error: type[ServiceError], message: str) -> None:
    with pytest.raises(error) as caught:
        await files(part(b'name="files"; filename="good.jpg"'), part(bad, b"3"))
    assert service_error_message(caught.value, "en") == message
    assert caught.value.status == 422


async def test_form_with_an_empty_file_field_has_no_images() -> None:
    with pytest.raises(NoImages):
        await files(part(b'name="files"; filename=""', b""))


async def test_empty_parts_are_bounded() -> None:
    """Before, 290 MB of empty parts cost 301 MB, although they are not images."""
    empty = part(b'name="files"; filename=""', b"")
    budget = MemoryBudget(10_000_000)
    upload = upload_of((empty * 100 for _ in range(20_000)), budget)  # about 100 MB
    tracemalloc.start()
    with pytest.raises(TooManyImages):
        await read_all(upload)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 5_000_000
    assert budget.held_bytes == 0


async def test_every_image_counts_even_if_it_is_empty() -> None:
    with pytest.raises(TooManyImages):
        await files(*[part(b'name="files"; filename="a.jpg"', b"")] * (MAX_IMAGES + 1))


@given(st.binary(max_size=200))
async def test_any_body_is_read_or_refused(body: bytes) -> None:
    budget = MemoryBudget(10_000_000)
    upload = upload_of([b'--b\r\nContent-Disposition: form-data; name="files"; ' + body], budget)
    with suppress(ServiceError):
        await read_all(upload)
    assert budget.held_bytes == 0
