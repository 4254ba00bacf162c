"""A typed Python client of the birds classification service, for synchronous and asynchronous code.

    with BirdsClient("http://127.0.0.1:8000") as birds:
        for result in birds.classify(["https://example.org/parrot.jpg", Path("owl.jpg")], k=1):
            print(result.image, result.predictions or result.failure)

`errors.py` lists the exceptions that it raises.
"""

from birds_client.asynchronous import DEFAULT_URL, UNREADABLE, AsyncBirdsClient
from birds_client.blocking import BirdsClient
from birds_client.errors import (
    ClientError,
    ConfigurationError,
    ConnectionRefused,
    OtherService,
    ProxyFailed,
    Refused,
    TlsFailed,
    Unauthorized,
    Unreachable,
)
from birds_client.images import Image, Photo
from birds_client.results import Failure, Models, ModelVersion, Prediction, Result, Species
from birds_client.version import __version__

__all__ = [
    "DEFAULT_URL",
    "UNREADABLE",
    "AsyncBirdsClient",
    "BirdsClient",
    "ClientError",
    "ConfigurationError",
    "ConnectionRefused",
    "Failure",
    "Image",
    "ModelVersion",
    "Models",
    "OtherService",
    "Photo",
    "Prediction",
    "ProxyFailed",
    "Refused",
    "Result",
    "Species",
    "TlsFailed",
    "Unauthorized",
    "Unreachable",
    "__version__",
]
