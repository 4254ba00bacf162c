"""The HTTP front of the service: image URLs in, bird species out."""

VERSION = "0.2.0"
