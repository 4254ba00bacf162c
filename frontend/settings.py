"""Every setting of the frontend: name (with the prefix BIRDS_), default, limits and meaning."""

from __future__ import annotations

import re
import ssl
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    DirectoryPath,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from frontend.inference.target import triton_target
from frontend.limits.usable_cores import MAX_WORKERS, usable_cores, worker_count
from frontend.middleware.auth import check_key, keys_in_file
from frontend.middleware.rate_limit import parse_limit
from frontend.telemetry import logging

_NOT_PLAIN = re.compile("_|inf|nan", re.IGNORECASE)


def _split_commas(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _require_triton_target(url: str) -> str:
    triton_target(url)
    return url


def _require_keys(path: Path) -> Path:
    keys_in_file(path)
    return path


def _require_limit(limit: str) -> str:
    parse_limit(limit)
    return limit


def _require_certificates(path: Path) -> Path:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # SSLError too
        raise ValueError("the file cannot be read, or it has no certificate in PEM format") from error
    return path


def _require_plain_number(value: Any) -> Any:
    """Refuse texts that pydantic accepts as numbers but that are probably mistakes: 1_0, inf, nan."""
    if isinstance(value, str) and _NOT_PLAIN.search(value):
        raise ValueError("Input should be a finite number without underscores")
    return value


def _resolve_auto(value: Any) -> Any:
    return worker_count(usable_cores()) if value == "auto" else value


CommaSeparated = BeforeValidator(_split_commas)
PlainNumber = BeforeValidator(_require_plain_number)
ApiKey = Annotated[SecretStr, AfterValidator(check_key)]
Port = Annotated[int, Field(ge=1, le=65535), PlainNumber]
_WorkerCount = Annotated[int, Field(ge=1, le=MAX_WORKERS)]
_WorkersInput = _WorkerCount | Literal["auto"]
Workers = Annotated[_WorkerCount, PlainNumber, BeforeValidator(_resolve_auto, json_schema_input_type=_WorkersInput)]
Network = IPv4Network | IPv6Network
HostName = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9_.-]+)$")]
Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/?#\s@]+)$")]


class EnvironmentSettings(BaseSettings):
    """Settings that are read from environment variables. All numbers must be plain, see `PlainNumber`."""

    @field_validator("*", mode="before")
    @classmethod
    def _check_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        is_number = field.annotation in (int, float, int | None, float | None)
        return _require_plain_number(value) if is_number else value


class Settings(EnvironmentSettings):
    """Read from environment variables. Tests construct it with arguments instead."""

    # Error messages do not show the value, because it might be a key.
    model_config = SettingsConfigDict(
        env_prefix="BIRDS_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", description="address that the frontend listens on")
    port: Port = Field(8000, description="port that the frontend listens on")
    root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_.~-]+)*$")] = Field(
        "", description="path below which a proxy serves the frontend, such as /birds"
    )
    workers: Workers = Field(1, description="processes that answer requests; auto: one for every four usable cores")
    log_format: logging.Format = Field(
        "auto", description="json, console, or auto: console if stdout is a terminal, otherwise json"
    )
    log_level: logging.Level = Field("info", description="lowest level that is logged: debug, info, warning or error")
    triton_url: Annotated[str, AfterValidator(_require_triton_target)] = Field(
        "127.0.0.1:8011",
        description="Triton's gRPC address, host:port; for several servers ip:port,ip:port or dns:///name:port",
    )
    answer_cache_bytes: int = Field(
        32_000_000, ge=0, description="memory for answers to images that were seen before, in bytes; 0 turns it off"
    )
    model_mirror: str | None = Field(
        None, description="folder or base URL that has the classifier's files; tried before the Internet"
    )
    canary_version: str | None = Field(
        None, pattern="^[1-9][0-9]*$", description="model version that classifies a share of the images"
    )
    canary_percent: float = Field(
        0,
        ge=0,
        le=100,
        description="that share, in percent; the URL or file name of an image alone decides its version",
    )
    max_images: int = Field(1000, ge=1, description="maximum images in one request")
    max_k: int = Field(10, ge=1, description="maximum species that a request may ask for per image")
    min_score: float = Field(
        0, ge=0, le=1, description="lowest score of a prediction, for requests that do not give a `min_score`"
    )
    not_sure_below: float = Field(
        0.45, ge=0, le=1, description="the page and `birds classify` call an answer not sure if its best score is lower"
    )
    species_lists: DirectoryPath | None = Field(
        None, description="folder of species lists, NAME.txt, with one scientific name per line; # starts a comment"
    )
    max_request_bytes: int = Field(16_000_000, ge=1, description="maximum size of the body of POST /, in bytes")
    max_backlog: int = Field(
        320,
        ge=0,
        description="maximum images queued ahead of a request (plus three times its own) before it is refused",
    )
    request_timeout: float = Field(
        60, gt=0, description="seconds after which a request is answered, even if some of its images are not done"
    )
    download_timeout: float = Field(
        10, gt=0, description="seconds for one download, from the DNS query to the last byte"
    )
    download_max_bytes: int = Field(20_000_000, ge=1, description="maximum size of an image file, in bytes")
    download_max_bytes_in_flight: int = Field(
        256_000_000, ge=1, description="maximum bytes of image files in memory, over all requests"
    )
    download_proxy: Annotated[str, Field(pattern=r"^http://[^/?#\s]+/?$")] | None = Field(
        None,
        description="forward proxy, http://host:port, for all downloads; it then decides which hosts may be reached",
    )
    download_ca_file: Annotated[Path, AfterValidator(_require_certificates)] | None = Field(
        None, description="PEM file with certificates of private authorities that image servers may use"
    )
    user_agent_contact: Annotated[str, Field(pattern=r"^[\x21-\x27\x2a-\x7e]+$")] | None = Field(
        None, description="email address or URL, without spaces, for owners of image servers; sent in User-Agent"
    )
    max_pixels: int = Field(50_000_000, ge=1, description="maximum width × height of an image that is sent to Triton")
    download_ports: Annotated[tuple[Port, ...], NoDecode, CommaSeparated] = Field(
        (80, 443), description="ports that image URLs may name, separated by commas"
    )
    download_allow_networks: Annotated[tuple[Network, ...], NoDecode, CommaSeparated] = Field(
        (),
        description="networks (CIDRs, separated by commas) that are not public, but that images may be downloaded "
        "from, on any port",
    )
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, CommaSeparated] = Field(
        (),
        description="API keys, separated by commas; each request must send one of them. Without keys, anyone can use "
        "the service",
    )
    api_keys_file: Annotated[Path, AfterValidator(_require_keys)] | None = Field(
        None, description="file with more keys, one per line; lines that start with # are comments"
    )
    rate_limit: Annotated[str, AfterValidator(_require_limit)] | None = Field(
        None, description="images per API key (or per client address, without keys), such as 600/minute"
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, CommaSeparated] = Field(
        (),
        description="proxies in front of the frontend (CIDRs, separated by commas) whose X-Forwarded-For is trusted",
    )
    allowed_hosts: Annotated[tuple[HostName, ...], NoDecode, CommaSeparated] = Field(
        (),
        description="host names that requests may use, separated by commas, or * for every name; IP addresses and "
        "names without a dot are always allowed. If not set: only those if the frontend listens on the loopback "
        "interface and has neither keys nor trusted proxies, otherwise every name",
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, CommaSeparated] = Field(
        (),
        description="origins whose pages may use the API from a browser, such as https://example.org, separated by "
        "commas, or * for every origin",
    )

    @property
    def all_api_keys(self) -> list[SecretStr]:
        """The keys from BIRDS_API_KEYS and from the file. Raises ValueError if the file can no longer be read."""
        return [*self.api_keys, *(keys_in_file(self.api_keys_file) if self.api_keys_file else [])]
