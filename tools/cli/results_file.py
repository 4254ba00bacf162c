"""The results file of a bulk run, which a later run continues: no image is lost and none is recorded twice."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from tools.cli.formats import LINE_START, Record, json_line
from tools.errors import UsageError


class ResultsFileError(UsageError):
    """A run cannot continue this file; the text says why. The file was not changed."""


class ResultsFile:
    """JSON lines, one for each image; use as a context manager, in one run at a time. Raises ResultsFileError.

    `succeeded` says for each recorded image, by name, whether it was classified.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.succeeded: dict[str, bool] = {}

    def __enter__(self) -> ResultsFile:
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ResultsFileError(f"{self._path}: {error.strerror}") from error
        try:
            self._lock()
            self._read()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync(self._file)
        os.close(self._file)

    def append(self, item: Record) -> None:
        """Record one more image. After this returns, the record survives when the run is killed."""
        line = json_line(item)
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise ResultsFileError(f"{self._path}: {error.strerror}") from error
        if written < len(line):
            raise ResultsFileError(f"{self._path}: the disk is full")
        self.succeeded[item["image"]] = "failure" not in item

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResultsFileError(f"{self._path}: another run is writing to it") from error

    def _read(self) -> None:
        whole_bytes = 0
        with open(os.dup(self._file), "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n") and line[: len(LINE_START)] == LINE_START[: len(line)]:
                    break  # the run that wrote it was killed
                try:
                    item = json.loads(line)
                    self.succeeded[item["image"]] = "failure" not in item
                except (ValueError, KeyError, TypeError) as error:
                    raise ResultsFileError(f"{self._path}: this is not a file of results") from error
                whole_bytes += len(line)
        os.ftruncate(self._file, whole_bytes)
