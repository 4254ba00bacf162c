"""Asks Triton directly over HTTP: sends encoded images and prints the three best labels of each.

python examples/triton_http.py photo.jpg another.png
"""

import os
import sys
from pathlib import Path

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

files = sys.argv[1:]
# A batch has one encoded image in each row. Triton also makes batches of single requests.
images = np.array([[Path(file).read_bytes()] for file in files], dtype=np.object_)

tensor = InferInput("IMAGE", list(images.shape), "BYTES")
tensor.set_data_from_numpy(images)
# The classification extension: the answer has the labels, so no label file is needed here.
output = InferRequestedOutput("PROBABILITIES", class_count=3)

with InferenceServerClient(os.environ.get("BIRDS_TRITON_HTTP_URL", "127.0.0.1:8010")) as client:
    answer = client.infer("birds", [tensor], outputs=[output])

for file, labels in zip(files, answer.as_numpy("PROBABILITIES"), strict=True):
    for label in labels:
        score, _, name = label.decode().split(":", 2)
        print(f"{file}: {float(score):.2f} {name}")
