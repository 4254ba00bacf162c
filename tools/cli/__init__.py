"""The command line `birds`, the front door to everything in tools/. It imports little until a command needs it."""
