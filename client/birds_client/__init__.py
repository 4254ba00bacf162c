"""A typed Python client of the service, for asynchronous and for ordinary code.

    with BirdsClient("http://127.0.0.1:8000") as birds:
        for result in birds.classify(["https://example.org/parrot.jpg", Path("owl.jpg")], k=1):
            print(result.image, result.predictions or result.failure)

What it raises is in `errors.py`.
"""

from birds_client.asynchronous import DEFAULT_URL, UNREADABLE, AsyncBirdsClient
from birds_client.blocking import BirdsClient
from birds_client.errors import ClientError, Refused, Unauthorized, Unreachable
from birds_client.images import Image, Photo, Result

__all__ = [
    "DEFAULT_URL",
    "UNREADABLE",
    "AsyncBirdsClient",
    "BirdsClient",
    "ClientError",
    "Image",
    "Photo",
    "Refused",
    "Result",
    "Unauthorized",
    "Unreachable",
]
