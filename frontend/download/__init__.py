"""URL to bytes: which addresses may be fetched, and fetching them within limits."""
