"""How uvicorn is run: one worker's application, and the time and size limits of a connection."""
