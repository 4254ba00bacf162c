"""The JSON that goes in and comes out."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr

DEFAULT_K = 3
NDJSON = "application/x-ndjson"  # asks for, and marks, an answer that comes line by line
FILES_FIELD = "files"  # of the multipart form

_EXAMPLE_URL = "https://upload.wikimedia.org/wikipedia/commons/1/18/Ara_macao_-_two_at_Lowry_Park_Zoo.jpg"


def _encodable(text: str) -> str:
    text.encode()  # JSON can spell half a surrogate pair, which no answer could repeat; UnicodeEncodeError says so
    return text


Text = Annotated[StrictStr, AfterValidator(_encodable)]


class ClassifyRequest(BaseModel):
    """Which images, and how many species of each."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"images": [_EXAMPLE_URL], "k": 3}]})

    images: list[Text] = Field([], description="http or https URLs; one that appears twice is fetched once")
    k: StrictInt = Field(DEFAULT_K, description="how many species to return for each image, best first")
    model_version: StrictStr | None = Field(None, description="one of GET /models; the default if it is left out")


class PredictionBody(BaseModel):
    bird_name: str = Field(description="scientific name, or `background` for what is no bird")
    common_name: str | None = Field(description="common name, if the label has one")
    score: float = Field(description="probability from 0 to 1")


class FailureBody(BaseModel):
    url: str
    code: str = Field(description="stable; for programs")
    message: str = Field(description="for people")


class ReasonBody(BaseModel):
    code: str = Field(description="stable; for programs")
    message: str = Field(description="for people")


class ImageLine(BaseModel):
    """One line of a streamed answer: an image, as soon as it is done. Either `predictions` or `failure` is there."""

    url: str = Field(description="the URL as it was sent, or the file's name")
    model_version: str | None = Field(None, description="the model version that answered")
    predictions: list[PredictionBody] | None = None
    failure: ReasonBody | None = None


class TotalsLine(BaseModel):
    """The last line of a streamed answer; one that ends without it was cut off."""

    succeeded: int = 0
    failed: int = 0
    time_taken: float = Field(0.0, description="seconds")
    status: int = Field(200, description="the HTTP status, had all been known when the answer began")
    errors: list[str] = Field([], description="what is wrong with the request as a whole, or why it ended early")


class ClassifyResponse(BaseModel):
    """The answer to every POST, whether it succeeded or not."""

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
                    "time_taken": 0.42,
                    "errors": [],
                    "model_version": "1",
                    "other_versions": {},
                }
            ]
        }
    )

    successful_results: dict[str, list[PredictionBody]] = Field({}, description="predictions by URL, as it was sent")
    failed_results: list[str] = Field([], description="the URLs that could not be classified")
    failures: list[FailureBody] = Field([], description="why, in the same order")
    time_taken: float = Field(0.0, description="seconds")
    errors: list[str] = Field([], description="what is wrong with the request as a whole; then nothing was processed")
    model_version: str | None = Field(None, description="the model version that answered")
    other_versions: dict[str, str] = Field(
        {}, description="the images that another version answered: the canary, or the new default, by URL"
    )


class ModelVersionBody(BaseModel):
    """One version of the classifier; what is not known is null."""

    version: str
    default: bool
    labels: int | None = Field(description="how many labels it has")
    source: str | None = Field(description="what it was built from")
    engine: str | None = Field(description="tensorflow or openvino")
    published: str | None = Field(description="when, in UTC")


class ModelsResponse(BaseModel):
    """The versions of the classifier that a request may name."""

    default: str | None = Field(description="the version that answers when none is named")
    canary: dict[str, float] = Field({}, description="the version that gets a part of the other images; percent")
    versions: list[ModelVersionBody]
