"""The JSON of requests and answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, StrictInt, StrictStr

from frontend.settings import PlainNumber

DEFAULT_K = 3
FILES_FIELD = "files"  # name of the multipart form field

_MIN_SCORE = "leave out predictions with a lower score; the image may then have an empty list"
_EXAMPLE_URL = "https://upload.wikimedia.org/wikipedia/commons/1/18/Ara_macao_-_two_at_Lowry_Park_Zoo.jpg"


def _encodable(text: str) -> str:
    text.encode()  # raises a ValueError for a lone surrogate, which JSON can escape but UTF-8 cannot encode
    return text


Text = Annotated[StrictStr, AfterValidator(_encodable)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
MAX_SPECIES = 2000
SpeciesName = Annotated[Text, Field(max_length=200)]
SpeciesNames = Annotated[list[SpeciesName], Field(min_length=1, max_length=MAX_SPECIES, fail_fast=True)]
ModelVersionName = Annotated[Text, Field(max_length=64)]  # answers repeat it


class ClassifyRequest(BaseModel):
    """Which images to classify, and how many species to return for each."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"images": [_EXAMPLE_URL], "k": 3}]})

    images: Annotated[list[Text], FailFast()] = Field(
        [], description="http or https URLs; a URL that appears twice is fetched once"
    )
    k: StrictInt = Field(DEFAULT_K, description="how many species to return for each image, most probable first")
    model_version: ModelVersionName | None = Field(
        None, description="a version from GET /models; default: the one that /models calls default"
    )
    min_score: Annotated[Score, Field(strict=True)] | None = Field(None, description=_MIN_SCORE)
    species: SpeciesName | SpeciesNames | None = Field(
        None,
        description="return only these species: a list of scientific names, or the name of a list from "
        "GET /species-lists",
    )


class FilesQuery(BaseModel):
    """Query parameters of POST /files."""

    model_config = ConfigDict(extra="forbid")

    k: Annotated[int, PlainNumber] | None = Field(
        None, description="how many species to return for each image; default 3"
    )
    model_version: ModelVersionName | None = Field(
        None, description="a version from GET /models; default: the one that /models calls default"
    )
    min_score: Annotated[Score, PlainNumber] | None = Field(None, description=_MIN_SCORE)
    species: SpeciesNames | None = Field(
        None,
        description="return only these species: scientific names (repeat the parameter), or the name of a list from "
        "GET /species-lists",
    )


class PredictionBody(BaseModel):
    bird_name: str = Field(description="scientific name, or `background` if the image shows no bird")
    common_name: str | None = Field(description="common name, or null if the label has none")
    score: float = Field(description="probability from 0 to 1")


class FailureBody(BaseModel):
    url: str
    code: str = Field(description="stable, for programs")
    message: str = Field(description="for people")


class ReasonBody(BaseModel):
    code: str = Field(description="stable, for programs")
    message: str = Field(description="for people")


class ImageLine(BaseModel):
    """One line of a streamed answer, for one image. It has either `predictions` or `failure`."""

    url: str = Field(description="the URL as sent, or the name of the file")
    model_version: str | None = Field(None, description="the model version that answered")
    predictions: list[PredictionBody] | None = None
    failure: ReasonBody | None = None
    no_bird: bool | None = Field(None, description="true if the most probable label is `background`; else left out")


class TotalsLine(BaseModel):
    """The last line of a streamed answer. An answer without it was cut off."""

    succeeded: int = 0
    failed: int = 0
    time_taken: float = Field(0.0, description="seconds")
    status: int = Field(200, description="the HTTP status that the answer would have if it were not streamed")
    errors: list[str] = Field(
        [], description="what is wrong with the request as a whole, or why the answer ended early"
    )


class ClassifyResponse(BaseModel):
    """The answer to every POST, successful or not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "successful_results": {
                        _EXAMPLE_URL: [{"bird_name": "Ara macao", "common_name": "Scarlet Macaw", "score": 0.7345}]
                    },
                    "failed_results": ["http://127.0.0.1/"],
                    "failures": [
                        {
                            "url": "http://127.0.0.1/",
                            "code": "forbidden_url",
                            "message": "The URL leads to an address that is not public",
                        }
                    ],
                    "no_bird": [],
                    "time_taken": 0.42,
                    "errors": [],
                    "model_version": "1",
                    "other_versions": {},
                }
            ]
        }
    )

    successful_results: dict[str, list[PredictionBody]] = Field({}, description="predictions by URL, as sent")
    failed_results: list[str] = Field([], description="the URLs that could not be classified")
    failures: list[FailureBody] = Field([], description="the reason for each, in the same order")
    no_bird: list[str] = Field([], description="the URLs of images whose most probable label is `background`")
    time_taken: float = Field(0.0, description="seconds")
    errors: list[str] = Field(
        [],
        description="what is wrong with the request as a whole; then there are no results, except when Triton was lost "
        "while an upload was still arriving",
    )
    model_version: str | None = Field(None, description="the model version that answered")
    other_versions: dict[str, str] = Field(
        {},
        description="by URL, the version that answered where it is not `model_version`: the canary or a new default",
    )


class ModelVersionBody(BaseModel):
    """One version of the classifier. Unknown values are null."""

    version: str
    default: bool
    labels: int | None = Field(description="number of labels")
    source: str | None = Field(description="what the version was built from")
    engine: str | None = Field(description="tensorflow or openvino")
    published: str | None = Field(description="time of publishing, in UTC")


class ModelsResponse(BaseModel):
    """The versions of the classifier that a request may name."""

    default: str | None = Field(description="the version for requests that name none")
    canary: dict[str, float] = Field(
        {},
        description="the canary version, and its share in percent of the images of requests that name no version",
    )
    not_sure_below: float = Field(
        description="an answer is not sure if its best score is lower, unless its best label is `background`"
    )
    versions: list[ModelVersionBody]


class SpeciesBody(BaseModel):
    bird_name: str = Field(description="scientific name")
    common_name: str | None = Field(description="common name, or null if the label has none")


class SpeciesResponse(BaseModel):
    """The species that a version of the classifier can name; none if the version was put in place by hand."""

    model_version: str | None = Field(None, description="the version that can name these species")
    species: list[SpeciesBody] = Field([], description="without `background`")
    errors: list[str] = Field([], description="what is wrong with the request; then there are no species")


class SpeciesListBody(BaseModel):
    name: str
    species: int = Field(description="number of species in the list")


class SpeciesListsResponse(BaseModel):
    """The species lists of the operator."""

    lists: list[SpeciesListBody]
