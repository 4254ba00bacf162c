"""The command line, `birds`: classify images, and the front door to everything else here."""
