"""The files of Google's AIY Birds V1: MobileNetV2, 964 species and `background`, Apache-2.0."""

from __future__ import annotations

from tools.models.weights.fetch import PinnedFile

NAME = "aiy-birds-v1"
_COMMIT = "https://raw.githubusercontent.com/google-coral/test_data/104342d2d3480b3e66203073dac24f4e2dbb4c41"
MODEL = PinnedFile(
    name="mobilenet_v2_1.0_224_inat_bird_quant.tflite",
    sha256="350fcd8cf1df1560060d464595dfed8b174b05792788052896004848d9ad04f9",
    url=f"{_COMMIT}/mobilenet_v2_1.0_224_inat_bird_quant.tflite",
)
LABELS = PinnedFile(
    name="inat_bird_labels.txt",
    sha256="a16108dfe3f8daff015b87a97ab6a17e717b9b1bccd719f6d8f747746d7b9277",
    url=f"{_COMMIT}/inat_bird_labels.txt",
)
