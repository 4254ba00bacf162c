"""Command-line tools: building the classifier and running the servers."""
