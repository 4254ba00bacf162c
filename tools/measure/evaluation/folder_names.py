"""Finds out which answers are right for a folder of labelled photos, from the folder's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from birds_client import Species

from frontend.api.species_filter import nearest_matches
from frontend.inference.scores import BACKGROUND
from tools.errors import UsageError

UNKNOWN = "unknown"  # the folder of birds that the model does not know: every species is a wrong answer
_BACKGROUND_FOLDERS = {BACKGROUND, "no bird"}
_MAX_SHOWN = 5


def right_answers(folders: Iterable[str], species: Sequence[Species]) -> dict[str, frozenset[str]]:
    """Return the `bird_name`s that are right for the photos of each folder.

    A folder is named for a species (scientific or common name), or for a kind: a genus, or the end of common names,
    such as `Macaw`. Case does not matter, and `_` and `-` count as spaces. Raises UsageError, which lists the unknown
    names with their nearest matches.
    """
    found = {folder: _right_for(_plain(folder), species) for folder in folders}
    if unknown := [folder for folder, right in found.items() if right is None]:
        raise UsageError(_unknown_names(unknown, species))
    return {folder: right for folder, right in found.items() if right is not None}


def _right_for(name: str, species: Sequence[Species]) -> frozenset[str] | None:
    if name in _BACKGROUND_FOLDERS:
        return frozenset({BACKGROUND})
    if name == UNKNOWN:
        return frozenset()
    exact = {one.bird_name for one in species if name in (_plain(one.bird_name), _plain(one.common_name or ""))}
    kind = {
        one.bird_name
        for one in species
        if _plain(one.bird_name).startswith(f"{name} ") or _plain(one.common_name or "").endswith(f" {name}")
    }
    return frozenset(exact or kind) or None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def _unknown_names(folders: Sequence[str], species: Sequence[Species]) -> str:
    known = [name for one in species for name in (one.bird_name, one.common_name) if name]
    listed = "; ".join(f"{folder} (nearest: {nearest_matches(folder, known)})" for folder in folders[:_MAX_SHOWN])
    more = f"; and {len(folders) - _MAX_SHOWN} more" if len(folders) > _MAX_SHOWN else ""
    return (
        f"the model knows no species with the name of these folders: {listed}{more}. Name a folder of other birds "
        f"{UNKNOWN}, and a folder without birds {BACKGROUND}"
    )
