"""How this project introduces itself to the servers that it downloads from."""

from __future__ import annotations

from frontend import VERSION


def user_agent(contact: str | None) -> str:
    """Return the User-Agent of downloads. Policies such as Wikimedia's ask for a contact in it."""
    about = "bird-species inference service; fetches images that its users name"
    return f"birds/{VERSION} ({f'{contact}; ' if contact else ''}{about})"
