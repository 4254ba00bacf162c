"""What a run of the benchmark found, as it is written to JSON and read back."""

from __future__ import annotations

from pydantic import BaseModel

BASELINE = "baseline"


class Machine(BaseModel):
    cpu: str
    cores: int
    memory_gb: float
    system: str


class LoadPoint(BaseModel):
    """One target under one load, once. CPU and stage times are milliseconds an image."""

    target: str
    concurrency: int
    repeat: int
    images_per_second: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    statuses: dict[str, int]
    failed_images: int
    cpu_ms: dict[str, float]
    stages_ms: dict[str, float]
    batch_sizes: dict[str, float]


class DirectPoint(BaseModel):
    """perf_analyzer on the ensemble, one image a request."""

    form: str
    concurrency: int
    repeat: int
    images_per_second: float
    p50_ms: float
    p99_ms: float
    cache_hits: int


class LimitPoint(BaseModel):
    form: str
    batch: int
    repeat: int
    images_per_second: float


class SingleCall(BaseModel):
    """Calls of 5 images to a target that has nothing else to do, a pause between them."""

    target: str
    repeat: int
    latencies_ms: list[float]


class OriginalTable(BaseModel):
    """16 callers at once, 5 images a call, 10 s timeout."""

    target: str
    calls: int
    mean_ms: float
    fastest_ms: float
    slowest_ms: float
    calls_per_second: float
    total_seconds: float
    statuses: dict[str, int]


class LongList(BaseModel):
    """1,000 URLs in one call beside 200 calls of 5, 16 at once; `growth_mb` is the peak of the one over the before."""

    target: str
    repeat: int
    one_call: float
    short_calls: float
    growth_mb: float


class Repetition(BaseModel):
    """Images a second of 16 callers: always new images, and the same few again and again."""

    target: str
    repeat: int
    fresh: float
    repeated: float


class Cost(BaseModel):
    """`first_answer_seconds`: from the command to the answer to a call of 5, at the second start.

    `memory_mb`: proportional set size of all processes after work at 16 callers, while nothing else was up.
    `growth_mb`: what was added to it while `growth_images` images were classified.
    """

    target: str
    first_answer_seconds: float
    processes: int
    idle_cpu_percent: float
    memory_mb: float
    growth_mb: float
    growth_images: int
    imports_tensorflow: bool


class Accuracy(BaseModel):
    """Agreement with LiteRT's best label; the `confident` ones are those that LiteRT scored over 0.4."""

    form: str
    photos: int
    agreeing: int
    confident: int
    confident_agreeing: int
    mean_score_difference: float


class Results(BaseModel):
    started: str
    command: str
    machine: Machine
    versions: dict[str, str]
    photos: str
    forms: list[str]
    loads: list[LoadPoint] = []
    direct: list[DirectPoint] = []
    limits: list[LimitPoint] = []
    single: list[SingleCall] = []
    original: list[OriginalTable] = []
    long_lists: list[LongList] = []
    repetition: list[Repetition] = []
    costs: list[Cost] = []
    accuracy: list[Accuracy] = []
