"""One coverage-guided fuzzing run: `python -m tests.fuzz.coverage_guided TARGET CORPUS_FOLDER [libFuzzer options]`.

Atheris records which lines of Pillow's parsers and of this project's modules each input reaches, and keeps the inputs
that reach new lines. A finding is written next to the corpus as crash-… and ends the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

from tools.models.repository import MODEL_REPOSITORY

sys.path.append(str(MODEL_REPOSITORY / "preprocess" / "1"))

with atheris.instrument_imports(
    include=["PIL", "bird_pixels", "frontend.classify.image_sniff", "frontend.download.urls", "idna"]
):
    from tests.fuzz.properties import check_decoding, check_header, check_redirect, check_url
    from tests.fuzz.seeds import seed_files

URLS = ["http://example.org/a?b=c", "https://[2001:db8::1]:8443/", "http://①②⑦.⓪.⓪.①/", "http://0x7f.1/", "//x@y:z/"]


def _fuzz_text(data: bytes) -> None:
    text = data.decode("utf-8", "surrogatepass" if data[:1] == b"\xed" else "replace")
    check_url(text)
    check_url("http://" + text)
    check_redirect(text)


def _fuzz_text_safely(data: bytes) -> None:
    try:
        _fuzz_text(data)
    except UnicodeDecodeError:
        pass  # not text


TARGETS: dict[str, tuple[Callable[[bytes], object], Callable[[], list[bytes]]]] = {
    "decoder": (check_decoding, seed_files),
    "header": (check_header, seed_files),
    "urls": (_fuzz_text_safely, lambda: [url.encode() for url in URLS]),
}


def main() -> None:
    target, folder, *options = sys.argv[1:]
    function, seeds = TARGETS[target]
    corpus = Path(folder)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number:02}").write_bytes(seed)
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={corpus}-", *options], function)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
