"""The wire: routes, schemas, responses, streaming and uploads."""
