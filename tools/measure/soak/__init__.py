"""Load that checks every answer, for the tests of faults and for soaking."""
