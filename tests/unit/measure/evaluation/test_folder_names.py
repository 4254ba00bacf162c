"""Which answers are right for a folder of labelled photos, by its name."""

from __future__ import annotations

import pytest
from birds_client import Species

from tools.errors import UsageError
from tools.measure.evaluation.folder_names import right_answers

SPECIES = [
    Species("Ara macao", "Scarlet Macaw"),
    Species("Ara militaris", "Military Macaw"),
    Species("Aramus guarauna", "Limpkin"),
    Species("Pica pica", "Eurasian Magpie"),
    Species("Calocitta formosa", "White-throated Magpie-Jay"),
    Species("Cyanocitta cristata", "Blue Jay"),
    Species("Rallus unnamed", None),
]


@pytest.mark.parametrize(
    ("folder", "right"),
    [
        ("Ara macao", {"Ara macao"}),
        ("ara_macao", {"Ara macao"}),
        ("Scarlet Macaw", {"Ara macao"}),
        ("scarlet-macaw", {"Ara macao"}),
        ("Macaw", {"Ara macao", "Ara militaris"}),
        ("Ara", {"Ara macao", "Ara militaris"}),
        ("magpie", {"Pica pica"}),
        ("Jay", {"Calocitta formosa", "Cyanocitta cristata"}),
        ("white throated magpie jay", {"Calocitta formosa"}),
        ("Rallus unnamed", {"Rallus unnamed"}),
        ("background", {"background"}),
        ("No bird", {"background"}),
        ("unknown", set()),
    ],
)
def test_folder_stands_for_its_species(folder: str, right: set[str]) -> None:
    assert right_answers([folder], SPECIES) == {folder: right}


def test_unknown_names_are_listed_with_the_nearest() -> None:
    with pytest.raises(UsageError) as refused:
        right_answers(["Ara macaw", "Ara macao", "xyz", "_"], SPECIES)
    assert "Ara macaw (nearest: Ara macao" in str(refused.value)
    assert "xyz (nearest: —)" in str(refused.value)
    assert "Ara macao (" not in str(refused.value)
