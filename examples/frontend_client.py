"""Classifies URLs and files with the Python client (pip install ./client).

python examples/frontend_client.py photo.jpg https://example.org/parrot.jpg
"""

import os
import sys
from pathlib import Path

from birds_client import DEFAULT_URL, BirdsClient

images = [name if name.startswith(("http://", "https://")) else Path(name) for name in sys.argv[1:]]

with BirdsClient(os.environ.get("BIRDS_URL", DEFAULT_URL)) as birds:
    for result in birds.classify(images, k=3):
        if result.failure:
            print(f"{result.image}: {result.failure.message} ({result.failure.code})")
        for prediction in result.predictions:
            print(f"{result.image}: {prediction.score:.2f} {prediction.bird_name} ({prediction.common_name})")
