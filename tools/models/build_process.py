"""Builds one version of the classifier in a child process, so that a bad model ends that process and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools import ROOT
from tools.errors import ToolError
from tools.models.options import FALLBACK, BuildOptions
from tools.models.sandbox import free_bytes
from tools.models.weights import aiy_files
from tools.models.weights.fetch import fetch

UNTRUSTED_WARNING = """\
Note: a model is a program. TensorFlow says: "using untrusted models or graphs is equivalent to running untrusted code".
The build is confined, serving is not: publish only models from people that you trust."""


class BuildError(ToolError):
    """The version cannot be built; the text says why."""


def build_version(directory: Path, options: BuildOptions, size: tuple[int, int]) -> None:
    """Build into the empty folder `directory`, in a child process that may use all memory that is free now.

    `size` is the (height, width) for models that take images of any size. The child's progress goes to standard error.
    The child may write into the parent of `directory`. Raises BuildError, or FetchError for missing weights.
    """
    if options.own:
        print(UNTRUSTED_WARNING, file=sys.stderr, flush=True)
    elif options.source != FALLBACK:
        for file in (aiy_files.LABELS, aiy_files.MODEL):
            fetch(file, options.mirror)  # into the cache, where the child finds it
    height, width = size
    command = [sys.executable, "-m", "tools.models.build_child", str(directory), str(height), str(width)]
    # Temporary files are removed with the unfinished version, even those of a child that is killed.
    environment = {**os.environ, "TMPDIR": str(directory.parent)}
    child = subprocess.Popen(
        [*command, options.to_json()],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.__stderr__,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        _, errors = child.communicate()
    finally:
        child.kill()
        child.wait()
    if child.returncode == 0:
        if any(path.is_symlink() for path in directory.rglob("*")):
            raise BuildError("the model left a symbolic link in its version, which could lead anywhere")
        return
    if child.returncode < 0:
        raise BuildError(
            f"the build was killed by signal {-child.returncode}, most likely because it needs more memory than there "
            f"is ({free_bytes() / 1e9:.1f} GB are free)"
        )
    lines = errors.strip().splitlines()
    reason = lines[-1].removeprefix("build: ") if lines else f"exit code {child.returncode}"
    raise BuildError(reason)
