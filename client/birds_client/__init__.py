"""A typed Python client of the birds classification service, for synchronous and asynchronous code.

    with BirdsClient("http://127.0.0.1:8000") as birds:
        for result in birds.classify(["https://example.org/parrot.jpg", Path("owl.jpg")], k=1):
            print(result.image, result.predictions or result.failure)

`errors.py` lists the exceptions that it raises.
"""

from birds_client.asynchronous import DEFAULT_URL, UNREADABLE, AsyncBirdsClient
from birds_client.blocking import BirdsClient
from birds_client.errors import ClientError, ConfigurationError, Refused, Unauthorized, Unreachable
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
    "Failure",
    "Image",
    "ModelVersion",
    "Models",
    "Photo",
    "Prediction",
    "Refused",
    "Result",
    "Species",
    "Unauthorized",
    "Unreachable",
    "__version__",
]
