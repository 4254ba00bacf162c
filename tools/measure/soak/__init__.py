"""The soak test, and its load that checks every answer, which the tests of faults use too."""
