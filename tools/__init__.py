"""What people and operators run; one command line, `birds`, is the front door to all of it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the checkout
