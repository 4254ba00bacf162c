"""`python -m tools.cli` is `birds` where it is not installed."""

from __future__ import annotations

import sys

from tools.cli.main import main

if __name__ == "__main__":  # not in the processes that birds bench starts
    sys.exit(main())
