"""A short run of the fuzzing that `python -m tests.fuzz` does for longer: mutated files and random URLs."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.properties import check_decoding, check_header, check_redirect, check_url
from tests.fuzz.seeds import mutated, seed_files

FUZZING = os.environ.get("BIRDS_FUZZ_MUTATIONS")  # set by `make fuzz`
MUTATIONS = int(FUZZING or "5000")
SEEDS = seed_files()


def test_every_seed_is_accepted() -> None:
    assert len(SEEDS) > 40
    assert all(check_decoding(seed) for seed in SEEDS)


def test_damaged_files_decode_or_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    # Fuzzing has new files on every run, and other runs have the same ones. A failure message names the number.
    start = random.SystemRandom().randrange(10**9) if FUZZING else 0
    accepted = 0
    for number in range(start, start + MUTATIONS):
        chance = random.Random(number)
        data = mutated(chance.choice(SEEDS), SEEDS, chance)
        try:
            accepted += check_decoding(data)
        except Exception as error:
            raise AssertionError(f"mutation {number}: {data.hex()}") from error
    assert 0 < accepted < MUTATIONS, "a run in which all files are accepted, or all refused, tests nothing"
    assert capfd.readouterr() == ("", ""), f"a file wrote to the terminal, one of {start} to {start + MUTATIONS}"


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sampled_from(SEEDS), st.integers(0, 80))
def test_any_bytes_after_a_valid_beginning(tail: bytes, seed: bytes, kept: int) -> None:
    check_decoding(seed[:kept] + tail)
    check_header(seed[:kept] + tail)


HOSTILE = st.text(st.sampled_from("htps:/@[]%.。01x①٣a-\\#?&= \t\r\n\0\u202e\u00adéß\ud800Ａ%25:"), max_size=60)


@settings(max_examples=500)
@given(
    st.one_of(st.text(max_size=80), HOSTILE, HOSTILE.map("http://".__add__), HOSTILE.map("http://a.example".__add__))
)
def test_any_string_is_refused_or_safe(text: str) -> None:
    check_url(text)
    check_redirect(text)
