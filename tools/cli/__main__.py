"""`python -m tools.cli` is `birds` where it is not installed."""

from __future__ import annotations

import sys

from tools.cli.main import main

sys.exit(main())
