"""The web page, its static files and the offline API documentation."""
