"""How uvicorn runs the application: one worker process, and the HTTP/1.1 protocol of its connections."""
