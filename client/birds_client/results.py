"""What the service answers, as typed objects. Fields that a newer service adds are ignored."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from birds_client.images import Image


@dataclass(frozen=True)
class Prediction:
    """One species: its scientific and common names, and a probability from 0 to 1."""

    bird_name: str
    common_name: str | None
    score: float


@dataclass(frozen=True)
class Failure:
    """Why an image was not classified: a stable code for programs and a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Result:
    """The result for one image: `predictions`, best first, or a `failure`.

    `no_bird` is true when the best label is the model's background class.
    """

    image: Image
    predictions: list[Prediction]
    failure: Failure | None = None
    model_version: str | None = None
    no_bird: bool = False


@dataclass(frozen=True)
class Species:
    """A species that a model can name; `common_name` is None if its label has none."""

    bird_name: str
    common_name: str | None


@dataclass(frozen=True)
class ModelVersion:
    """One version of the classifier; unknown values are None. `published` is a time in UTC."""

    version: str
    default: bool
    labels: int | None
    source: str | None
    engine: str | None
    published: str | None


@dataclass(frozen=True)
class Models:
    """The versions that a request may name, the default one, and the percentage of images that a canary gets.

    The service is not sure of an answer whose best score is lower than `not_sure_below`, unless it found no bird.
    """

    default: str | None
    canary: dict[str, float]
    versions: list[ModelVersion]
    not_sure_below: float = 0


def result_from(image: Image, line: dict[str, Any]) -> Result:
    """Read one line of a streamed answer. Raises KeyError, TypeError or AttributeError for anything else."""
    failure = line.get("failure")
    return Result(
        image,
        predictions=[
            Prediction(prediction["bird_name"], prediction.get("common_name"), float(prediction["score"]))
            for prediction in line.get("predictions") or []
        ],
        failure=Failure(failure["code"], failure["message"]) if failure else None,
        model_version=line.get("model_version"),
        no_bird=bool(line.get("no_bird", False)),
    )


def models_from(answer: dict[str, Any]) -> Models:
    """Read the answer of GET /models. Raises KeyError, TypeError or AttributeError for anything else."""
    names = [field.name for field in fields(ModelVersion)]
    versions = [ModelVersion(**{name: version.get(name) for name in names}) for version in answer["versions"]]
    return Models(answer["default"], answer.get("canary") or {}, versions, float(answer.get("not_sure_below", 0)))


def species_from(answer: dict[str, Any]) -> list[Species]:
    """Read the answer of GET /species. Raises KeyError, TypeError or AttributeError for anything else."""
    return [Species(species["bird_name"], species["common_name"]) for species in answer["species"]]
