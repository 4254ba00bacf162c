"""How good a version's answers are on labelled photos, from the answers of a running frontend."""
