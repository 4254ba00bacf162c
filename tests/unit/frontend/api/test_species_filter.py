"""The species that a request wants: lists of the operator, and names that are checked against the model."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from frontend.api import species_filter
from frontend.api.species_filter import check_species, list_named, read_species_lists
from frontend.errors import UnknownSpecies, UnknownSpeciesList
from frontend.i18n.messages import service_error_message

KNOWN = {
    "Ara macao": "Scarlet Macaw",
    "Ara ararauna": "Blue-and-yellow Macaw",
    "Athene cunicularia": "Burrowing Owl",
    "background": None,
}


def test_lists_are_read_from_text_files(tmp_path: Path) -> None:
    (tmp_path / "Estonia.txt").write_text("\ufeff# birds\nAra macao\r\n\n  Ara ararauna  \nAra macao\n", "utf-8")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "notes.md").write_text("Ara macao\n")
    assert read_species_lists(tmp_path) == {"Estonia": ("Ara macao", "Ara ararauna"), "empty": ()}
    assert read_species_lists(None) == {}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Ara makao", "Ara macao, Ara ararauna"),
        ("ARA MACAO", "Ara macao, Ara ararauna"),
        ("Burrowing owl", "Athene cunicularia"),
        ("Qqq", "—"),
        ("x" * 200, "—"),
    ],
)
def test_unknown_species_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownSpecies) as caught:
        check_species(["Ara macao", name], KNOWN)
    message = service_error_message(caught.value, "en")
    assert message == f"The model does not know the species {name[:100]}. Nearest matches: {nearest}"


def test_unknown_species_is_compared_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, one unknown name was compared with all 965 labels, which held up all other requests for 93 ms."""
    compared: list[str] = []

    def record(_: str, possibilities: Collection[str], **__: object) -> list[str]:
        compared.extend(possibilities)
        return []

    monkeypatch.setattr(species_filter, "get_close_matches", record)
    labels = [f"Genus{number} species{number}" for number in range(1000)]
    with pytest.raises(UnknownSpecies):
        check_species(["Genus77 speces77"], dict.fromkeys(labels))
    assert "genus77 species77" in compared
    assert len(compared) <= 30


def test_known_species_pass() -> None:
    check_species(KNOWN, KNOWN)


def test_unknown_list_names_the_nearest() -> None:
    lists = {"estonia": ("Ara macao",), "france": ()}
    assert list_named("estonia", lists) == ("Ara macao",)
    with pytest.raises(UnknownSpeciesList) as caught:
        list_named("Estonie", lists)
    assert service_error_message(caught.value, "en") == "There is no species list Estonie. Nearest matches: estonia"
