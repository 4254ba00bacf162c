"""The classifier's versions: build, publish, roll back and retire them."""

import sys

from tools import ROOT

# The engines and the manifest belong to the backend, which runs where the tools are not installed.
_BACKEND = str(ROOT / "backends" / "tensorflow")
if _BACKEND not in sys.path:
    sys.path.append(_BACKEND)
