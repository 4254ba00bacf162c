"""Which species a request wants: names that it lists, or a list that the operator keeps in a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from heapq import nlargest
from pathlib import Path

from frontend.errors import UnknownSpecies, UnknownSpeciesList

_MAX_SUGGESTIONS = 3
_MAX_SHOWN_CHARACTERS = 100
# Comparing an unknown name with all 965 labels took up to 93 ms. It is compared only with this many labels: those that
# share the most letter pairs with it.
_MAX_COMPARED = 30


def read_species_lists(folder: Path | None) -> dict[str, tuple[str, ...]]:
    """Return the lists in a folder: `NAME.txt` has one scientific name per line; lines that start with # are comments.

    Raises OSError or UnicodeDecodeError if a file cannot be read.
    """
    if folder is None:
        return {}
    lists = {}
    for path in sorted(folder.glob("*.txt")):
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
        lists[path.stem] = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    return lists


def list_named(name: str, lists: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Return the operator's list with this name. Raises UnknownSpeciesList, which names the nearest matches."""
    if name not in lists:
        raise UnknownSpeciesList(name=_shown(name), suggestions=nearest_matches(name, lists))
    return lists[name]


def check_species(names: Collection[str], known: Mapping[str, str | None]) -> None:
    """Raise UnknownSpecies for the first name that is not among the scientific names of `known`.

    `known` has the common name of each. The error gives the scientific names of a common name, or the nearest matches.
    """
    for name in names:
        if name not in known:
            same = [one for one, common in known.items() if common and common.lower() == name.lower()]
            raise UnknownSpecies(name=_shown(name), suggestions=", ".join(same) or nearest_matches(name, known))


def _shown(name: str) -> str:
    return name[:_MAX_SHOWN_CHARACTERS]


def nearest_matches(name: str, known: Collection[str]) -> str:
    """Return the names most similar to `name`, ignoring case, as one text. If none is similar, return an em dash."""
    by_lower_case = {other.lower(): other for other in known}
    lower_case = _shown(name).lower()
    pairs = _letter_pairs(lower_case)
    compared = nlargest(_MAX_COMPARED, by_lower_case, key=lambda other: len(pairs & _letter_pairs(other)))
    close = get_close_matches(lower_case, compared, n=_MAX_SUGGESTIONS, cutoff=0.5)
    return ", ".join(by_lower_case[match] for match in close) or "—"


def _letter_pairs(name: str) -> set[str]:
    return {name[start : start + 2] for start in range(len(name) - 1)}
