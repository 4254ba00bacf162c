"""The HTTP frontend of the service: it takes image URLs or files and answers with bird species."""

VERSION = "0.2.0"
