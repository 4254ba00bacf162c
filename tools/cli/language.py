"""The language of the user at the terminal."""

from __future__ import annotations

import os

from frontend.i18n.messages import preferred_language


def user_language() -> str:
    """Return the catalogue for LANGUAGE, LC_ALL, LC_MESSAGES or LANG, in the order of precedence of GNU gettext."""
    named = (os.environ.get(name, "") for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"))
    tags = (tag.partition(".")[0].partition("@")[0] for value in named for tag in value.split(":"))
    return preferred_language(",".join(tag for tag in tags if tag))
