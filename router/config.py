"""The router's tables of stack.toml: [endpoint] [tiers] [tasks] [clouds] [limits], as frozen values.

Validation happens here and nowhere else; the engines' table [models] is theirs and only known by name.
"""

from __future__ import annotations

import difflib
import fcntl
import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ENGINE_TABLES = frozenset({"models", "external", "gpus"})
MOST_WORKERS = 64
# Whoever stops the whole stack waits for the router and then for the engines, and not for ever.
LONGEST_DRAIN_S = 30.0


class ConfigError(ValueError):
    """stack.toml cannot be used; the text names file, table and key and says how to mend it."""


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Table(BaseModel):
    """A table of stack.toml: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Usd = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Endpoint(Table):
    """Where applications find the router; port 0 takes a free one. `keys_env` names the variable with the API keys.

    `workers` router processes share the port, each with a CPU core to fill; one is a router without a parent process.
    """

    host: str = "127.0.0.1"
    port: int = Field(4000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=MOST_WORKERS)
    keys_env: str | None = None

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> Endpoint:
        if not is_loopback(self.host) and self.keys_env is None:
            raise ValueError(f'host "{self.host}" can be reached from elsewhere: set keys_env, or use 127.0.0.1')
        return self


class Tier(Table):
    """A promise (time to first token) and a preference (order of targets; may it leave for the cloud)."""

    ttft_target_s: Seconds
    order: tuple[str, ...] = Field(("local", "cloud"), min_length=1)
    may_spill: bool = True

    @model_validator(mode="after")
    def _known_places(self) -> Tier:
        for place in self.order:
            if place not in {"local", "cloud"} and not place.startswith(("local/", "cloud/")):
                raise ValueError(f'order has "{place}": use "local", "cloud", "local/<engine>" or "cloud/<deployment>"')
        return self


class Task(Table):
    """A kind of work: which tier serves it, and which model if not any."""

    tier: str
    model: str | None = None


class Cloud(Table):
    """A cloud deployment. `serves` names models whose twin it is, in addition to models.lock."""

    model: Annotated[str, Field(pattern=r"^[^/]+/.+$")]
    key_env: str
    base_url: str | None = None
    input_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd | None = None
    context_tokens: int | None = Field(None, gt=0)
    capabilities: tuple[str, ...] | None = None
    serves: tuple[str, ...] = ()


class Limits(Table):
    """Bounds that hold for every request. Times, in seconds, each with an error of its own:

    receive_s       a client's request from its first byte to the end of its headers, and between two pieces of its body
    max_wait_s      longest wait for local room, before 429 with retry-after; and, counted by itself, for an engine that
                    starts, sleeps or is started again, before 503
    connect_s       until an engine has accepted a connection
    first_token_s   from sending a stream's request to an engine to its first token
    silence_s       between two chunks of a stream after that
    whole_answer_s  a whole request from its arrival, streaming or not
    drain_s         what may run on after TERM, 30 at most

    Every bound belongs to one request and is kept by the worker that serves it, but for `cloud_usd_per_day`: that
    is one sum for all workers, kept exactly by the ledger's transactions.
    """

    default_tier: str = "standard"
    body_bytes: int = Field(20 * 1024 * 1024, gt=0)
    receive_s: Seconds = 30.0
    max_wait_s: Seconds = 60.0
    connect_s: Seconds = 2.0
    first_token_s: Seconds = 120.0
    silence_s: Seconds = 120.0
    whole_answer_s: Seconds = 600.0
    drain_s: Seconds = Field(10.0, le=LONGEST_DRAIN_S)
    cloud_usd_per_day: Usd = 10.0


class Rules(Table):
    """All that the router reads from stack.toml."""

    endpoint: Endpoint = Endpoint()
    tiers: dict[Name, Tier] = Field(min_length=1)
    tasks: dict[Name, Task] = {}
    clouds: dict[Name, Cloud] = {}
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _names_exist(self) -> Rules:
        _must_exist("[limits]: default_tier", self.limits.default_tier, self.tiers)
        for name, task in self.tasks.items():
            _must_exist(f"[tasks.{name}]: tier", task.tier, self.tiers)
        for name, tier in self.tiers.items():
            for place in tier.order:
                if place.startswith("cloud/"):
                    _must_exist(f"[tiers.{name}]: order", place.removeprefix("cloud/"), self.clouds)
        return self


@dataclass(frozen=True, slots=True)
class Keys:
    """The API keys that clients may present; empty means that the endpoint is open."""

    accepted: frozenset[str]


TABLES: Mapping[str, type[Table]] = {
    "endpoint": Endpoint,
    "tiers": Tier,
    "tasks": Task,
    "clouds": Cloud,
    "limits": Limits,
}


def load_rules(path: Path) -> Rules:
    """Read and validate `path`. Raises ConfigError."""
    try:
        return rules_of(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name another file with --config") from error


def rules_of(content: bytes, source: str) -> Rules:
    """Validate the content of a stack.toml. Raises ConfigError."""
    try:
        tables = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from error
    return parse_rules(tables, source)


def parse_rules(tables: Mapping[str, Any], source: str) -> Rules:
    """Validate the router's tables of an already parsed stack.toml. Raises ConfigError."""
    own = {name: table for name, table in tables.items() if name not in ENGINE_TABLES}
    try:
        return Rules.model_validate(own)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(source, each) for each in error.errors())) from error


def keep_rules(rules: Rules) -> int:
    """A file descriptor in memory with these rules, for workers that are started after stack.toml has changed."""
    fd = os.memfd_create("spillway-rules")
    keep_rules_in(fd, rules)
    return fd


def keep_rules_in(fd: int, rules: Rules) -> None:
    """These rules from now on. Every worker may write them: they all read the same file."""
    content = rules.model_dump_json().encode()
    with _locked(fd, fcntl.LOCK_EX):
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))


def kept_rules(fd: int) -> Rules:
    """What was kept last; any number of processes may read it."""
    with _locked(fd, fcntl.LOCK_SH):
        content = os.pread(fd, os.fstat(fd).st_size, 0)
    return Rules.model_validate_json(content)


@contextmanager
def _locked(fd: int, how: int) -> Iterator[None]:
    """For this process alone, by a lock that belongs to the process and not to the descriptor, which is shared."""
    fcntl.lockf(fd, how)
    try:
        yield
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)


def read_keys(endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> Keys:
    """The accepted keys. A named but empty variable refuses to start, because it would open the endpoint."""
    if endpoint.keys_env is None:
        return Keys(frozenset())
    accepted = frozenset(key.strip() for key in environment.get(endpoint.keys_env, "").split(",") if key.strip())
    if not accepted:
        raise ConfigError(
            f"[endpoint] keys_env: the variable {endpoint.keys_env} is empty or not set; put the keys there"
        )
    return Keys(accepted)


def engine_key(key_env: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key of an engine that somebody else runs; None where there is none, or none that can stand in a header."""
    key = environment.get(key_env, "").strip()
    return key if key and key.isascii() and key.isprintable() else None


def _must_exist(key: str, name: str, table: Mapping[str, object]) -> None:
    if name not in table:
        raise ValueError(f'{key}: "{name}" does not exist; there are: {", ".join(sorted(table)) or "none"}')


def _sentence(source: str, error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        return f"{source}: {_where(location[:-1])}unknown key {location[-1]!r}{_meant(location)}"
    if error["type"] == "value_error":
        return f"{source}: {_where(location)}{error['msg'].removeprefix('Value error, ')}"
    message = MESSAGES.get(error["type"], error["msg"])
    return f"{source}: {_where(location[:-1])}{location[-1]}: {message}"


MESSAGES = {"missing": "is missing", "too_short": "is empty; name at least one"}


def _where(location: list[str]) -> str:
    return f"[{'.'.join(location)}]: " if location else ""


def _meant(location: list[str]) -> str:
    known = [*Rules.model_fields, *ENGINE_TABLES] if len(location) == 1 else list(TABLES[location[0]].model_fields)
    close = difflib.get_close_matches(location[-1], known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
