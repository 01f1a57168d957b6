"""The configuration: one frozen tree, YAML < environment < `--set a.b=v`; a wrong key is named by its full path.

A room is handed its own section only. Secrets never stand here: stores use the ambient credentials of the cloud.
Environment: SHOTLAKE_EMBED__MODEL=mini sets `embed.model`, SHOTLAKE_LAKE=s3://b/lake sets `lake`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from shotlake.errors import ConfigError
from shotlake.records import Space, stable_id

Seconds = Annotated[float, Field(ge=0, le=10_000_000)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
UtcTime = Annotated[datetime, AfterValidator(lambda at: at if at.tzinfo else at.replace(tzinfo=UTC))]


class Section(BaseModel):
    """A frozen section that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class CatalogConfig(Section):
    """What belongs to the archive."""

    include: tuple[str, ...] = Field(("**",), description="globs of keys, relative to the root, to take")
    exclude: tuple[str, ...] = Field((), description="globs of keys, relative to the root, to leave")
    skip_suffixes: tuple[str, ...] = Field(
        (".md", ".tsv", ".csv", ".json", ".yaml", ".srt", ".vtt", ".txt", ".jpg"),
        description="files that are skipped by name, with the reason; everything else is probed by content",
    )
    skip_storage_classes: tuple[str, ...] = Field(
        ("GLACIER", "DEEP_ARCHIVE"), description="classes that cannot be read at once, where the listing tells them"
    )
    recorded_pattern: str = Field(
        "", description="regex with groups year, month, day (hour, minute, second): when a key says it was recorded"
    )
    time_zone: str = Field("UTC", description="time zone of what recorded_pattern and metadata say without one")
    metadata: str = Field(
        "", description="CSV, Parquet or Delta table by uri: collection, recorded_at, and any column for filters"
    )
    subtitles: tuple[str, ...] = Field(
        (".srt", ".vtt"), description="suffixes of files named as their video is, whose words are kept for filters"
    )
    order: Literal["key", "newest"] = Field("key", description="whose turn it is: by key, or the newest first")
    first: tuple[str, ...] = Field((), description="prefixes of keys that come before all others, in this order")
    settle_s: Seconds = Field(0, description="objects modified within so many seconds wait for the next run")
    modified_since: UtcTime | None = Field(None, description="objects last modified before this are skipped")
    min_bytes: Count = Field(0, description="smaller objects are skipped; 0 keeps all, empty ones become failures")
    max_bytes: Count = Field(0, description="larger objects are skipped; 0 sets no limit")
    unit_s: Annotated[float, Field(gt=0, le=86_400)] = Field(600, description="about how long a work unit is")
    block_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        600, description="seconds of video a task, of one or more units"
    )


class DecodeConfig(Section):
    """How bytes become frames and waveform."""

    policy: Literal["exact", "reference", "keyframes"] = Field(
        "reference",
        description="frames that are decoded: exact all; reference without those that neither a clip nor another frame "
        "needs (the same clips, faster); keyframes only key frames (a preview)",
    )
    snap_to_shots: bool = Field(
        False, description="edges of segments move to a shot boundary within 15% of the window; their number stays"
    )
    device: Literal["cpu", "nvdec"] = Field(
        "cpu", description="nvdec: a GPU decodes what it can, the CPU the rest; the run counts both"
    )
    clips_per_batch: Positive = Field(16, description="clips that leave the decoder together, fewer if large")
    max_pixels: Positive = Field(8192 * 8192, description="larger pictures are refused before a frame is allocated")
    pictures: bool = Field(
        False, description="a picture file is a video of one frame; always so for files that are asked"
    )
    max_errors: Positive = Field(100, description="packet errors in a row after which a stream is given up")
    isolate: bool = Field(True, description="libav runs in a child process without credentials, files and network")
    memory_bytes: Count = Field(4 << 30, description="address space of that child; 0 sets no limit")
    idle_s: Annotated[float, Field(gt=0, le=3600)] = Field(60, description="a child without progress is replaced")
    slowest: Annotated[float, Field(gt=0)] = Field(20, description="a unit may take this many times its length")


class LateFusionConfig(Section):
    """Two models whose scores are joined; of use with `embed.model=late-fusion` only."""

    visual: str = Field("google/siglip2-base-patch16-224", description="siglip or videoprism: directory or hub id")
    visual_revision: str = Field("", description="pinned revision of a hub id")
    audio: str = Field("laion/larger_clap_general", description="clap without feature fusion: directory or hub id")
    audio_revision: str = Field("", description="pinned revision of a hub id")
    weight: Annotated[float, Field(gt=0, lt=1)] = Field(0.7, description="the picture's weight in the sum of z-scores")
    visual_spread: Annotated[float, Field(gt=0)] = Field(
        1.0, description="standard deviation of the picture model's scores, as `eval retrieval` prints it"
    )
    audio_spread: Annotated[float, Field(gt=0)] = Field(1.0, description="the same of the sound model")
    vectors: Literal["one", "two"] = Field(
        "two", description="one: only the joined vector is stored; two: picture and sound beside it"
    )


class EmbedConfig(Section):
    """Which encoder, and how it is run."""

    model: str = Field("mini", description="mini | a local directory | a hub id | late-fusion | python:module.Class")
    revision: str = Field("", description="pinned revision of a hub id: the 40 hex digits of a commit")
    window_s: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        None, description="segment length; the encoder's own if empty"
    )
    stride_s: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        None, description="segment distance; the window if empty"
    )
    late: LateFusionConfig = LateFusionConfig()
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="numbers of a large network; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    frames: Literal["all", "middle"] = Field(
        "all", description="middle: every clip is its middle frame, without sound; a baseline for evaluations"
    )
    new_space: bool = Field(
        False, description="true: fill a lake that another encoder wrote with this one's vectors as well, beside them"
    )
    batch_size: Positive = Field(64, description="clips a forward pass at the most; halved where memory is short")


class TableConfig(Section):
    """How rows become files and commits."""

    rows_per_file: Positive = Field(100_000, description="rows a data file at the most; a commit may cut earlier")
    commit_units: Positive = Field(2_000, description="units a commit at the most")
    commit_s: Annotated[float, Field(gt=0, le=3600)] = Field(60, description="seconds between commits at the most")
    lease_s: Annotated[float, Field(ge=1, le=3600)] = Field(
        15, description="a lease without heartbeat is free after this"
    )
    retention_h: Positive = Field(
        168,
        description="hours that maintenance keeps files no version refers to; who reads or writes may need them",
    )


class IndexConfig(Section):
    """How a table version becomes shards, and how good they have to be."""

    spaces: tuple[Space, ...] = Field(("fused", "visual"), description="vector spaces of a generation")
    exact_below: Count = Field(200_000, description="at or below so many rows the index is exact")
    codec: Literal["pq", "rabitq", "pqfs"] = Field(
        "pq", description="code kept in memory; candidates are re-ranked exactly"
    )
    target_recall: Ratio = Field(0.95, description="recall@10 for text queries; publishing is refused under it")
    target_recall_segment: Ratio = Field(0.98, description="recall@10 for queries by segment; likewise")
    rows_per_shard: Positive = Field(25_000_000, description="rows a shard at the most")
    train_points_per_list: Positive = Field(64, description="training sample: points a centroid")
    train_python: str = Field(
        "",
        description="interpreter, on the nodes, of an environment with shotlake[gpu]: a task of the cluster trains in "
        "it, on a GPU if there is one; empty: this process trains",
    )
    min_queries: Count = Field(500, description="text queries that the recall must be measured with")
    query_file: str = Field("", description="text queries, one a line; the encoder's own captions if empty")
    cache_bytes: Count = Field(
        0,
        description="bytes of a remote or served lake's index that a node keeps on disk; more if that is used; 0: all",
    )
    keep_generations: Positive = Field(
        3, description="generations that maintain leaves, the current one among them, to roll back to"
    )
    max_ram_bytes: Count = Field(
        0,
        description="a generation that keeps more in memory, all spaces together, is not built; 0: no limit",
    )
    max_disk_bytes: Count = Field(0, description="likewise on disk, with float16 rows and columns; 0: no limit")
    unindexed_cap: Count = Field(50_000, description="rows newer than the index that are searched exactly")


class QueryConfig(Section):
    """How hits become moments."""

    space: Literal[Space, "auto"] = Field(
        "fused", description="space that ranks the hits; auto takes that in which the query's best row is strongest"
    )
    rank_spaces: tuple[Space, ...] = Field(
        (), description="two or more spaces whose ranked lists are joined, such as [visual, audio], instead of `space`"
    )
    limit: Positive = Field(10, description="moments in an answer")
    candidates: Positive = Field(200, description="segments that are looked at before they are merged")
    merge_drop: Annotated[float, Field(ge=0, le=2)] = Field(
        0.1, description="a neighbour joins a moment if its score is within this of the best"
    )


class ReportConfig(Section):
    """What an hour of a machine costs."""

    price_book: str = Field("", description="YAML of prices; the shipped prices.yaml if empty")
    instance: str = Field("local", description="row of the price book for the machines of this run")
    egress: str = Field("none", description="row of the price book for the way that bytes take; none is free")


class LimitsConfig(Section):
    """Where a run stops."""

    tolerated_failure_ratio: Ratio = Field(0.05, description="more newly failed videos than this: exit 3")
    max_failure_ratio: Ratio = Field(0.5, description="more failed videos than this: the run stops, exit 1")
    min_failures: Count = Field(20, description="max_failure_ratio counts from so many failed videos on")
    max_hours: Annotated[float, Field(gt=0)] | None = Field(
        None, description="hours of video in this run; the rest is deferred"
    )
    max_units: Positive | None = Field(None, description="work units in this run; the rest is deferred")
    mini_max_hours: Annotated[float, Field(gt=0)] = Field(
        10, description="hours of video that mini indexes without being named"
    )


class FlowConfig(Section):
    """How the job is spread over the machines."""

    engine: Literal["ray", "local"] = Field("ray", description="ray, or plain Python in this process")
    ray_address: str = Field("", description="an existing cluster; empty: RAY_ADDRESS, else one started here")
    num_cpus: Count = Field(0, description="CPUs of a cluster that is started here; 0 takes all")
    decode_actors: Count = Field(0, description="0: from the cores of the cluster")
    embed_actors: Count = Field(0, description="0: one a GPU, or one on CPU")
    wave_videos: Positive = Field(20_000, description="videos an execution; bounds the driver, reloads the model")
    max_attempts: Positive = Field(3, description="attempts of a retryable unit, across runs")


class ServeConfig(Section):
    """Where the service listens."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="port to listen on")
    poll_s: Annotated[float, Field(gt=0, le=3600)] = Field(10, description="how often the pointer is looked at")
    max_body_bytes: Positive = Field(1_000_000, description="larger request bodies are refused")
    max_upload_bytes: Positive = Field(20_000_000, description="larger files in POST /v1/search:upload are refused")
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = Field(30, description="a request is given up after this")
    concurrency: Positive = Field(8, description="searches that are answered at the same time")
    upload_concurrency: Positive = Field(2, description="uploads that are answered at the same time")
    max_queued: Count = Field(64, description="searches that wait, and uploads; more are sent away with 429")
    body_s: Annotated[float, Field(gt=0, le=3600)] = Field(20, description="a body has to arrive within this")
    max_held_bytes: Positive = Field(200_000_000, description="bytes of bodies, large ones on disk; more get a 503")
    hosts: tuple[str, ...] = Field(
        (), description="names that the service answers to, beside loopback; empty: any, where `host` is not loopback"
    )
    holders: Count = Field(0, description="into so many parts the shards go, each to processes of its own; 0: none")
    holder_replicas: Positive = Field(2, description="processes that hold the same part; all but one may be lost")

    @property
    def answer_s(self) -> float:
        """Seconds that the work on a request may take: it ends before the client is told that it did not."""
        return 0.8 * self.timeout_s


class Config(Section):
    """The whole tree."""

    lake: str = Field("./lake", description="folder or s3:// prefix of the lake")
    catalog: CatalogConfig = CatalogConfig()
    decode: DecodeConfig = DecodeConfig()
    embed: EmbedConfig = EmbedConfig()
    table: TableConfig = TableConfig()
    index: IndexConfig = IndexConfig()
    query: QueryConfig = QueryConfig()
    report: ReportConfig = ReportConfig()
    limits: LimitsConfig = LimitsConfig()
    flow: FlowConfig = FlowConfig()
    serve: ServeConfig = ServeConfig()

    def digest(self) -> str:
        """Hash of every value, recorded with a run."""
        return stable_id(self.model_dump_json())


def load_config(file: str | None = None, sets: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> Config:
    """Read YAML `file`, then SHOTLAKE_* of `environ`, then `sets` ("a.b=v"). Errors: ConfigError, naming the key."""
    tree = _read_yaml(file) if file else {}
    for name, value in sorted((os.environ if environ is None else environ).items()):
        keys = name.removeprefix("SHOTLAKE_").lower().split("__")
        if name.startswith("SHOTLAKE_") and (len(keys) > 1 or keys[0] in Config.model_fields):
            _assign(tree, keys, _scalar(value, keys, name), name)
    for item in sets:
        path, sign, value = item.partition("=")
        if not sign:
            raise ConfigError(f"--set {item!r} has no '='; write --set section.key=value")
        keys = path.strip().split(".")
        _assign(tree, keys, _scalar(value, keys, path), path)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from None


def config_dir() -> Path:
    """The folder of shipped configurations: inside an installed package, or `configs/` of a checkout."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"


def field_paths(model: type[BaseModel] = Config, prefix: str = "") -> dict[str, str]:
    """Every key of the tree with its description."""
    paths: dict[str, str] = {}
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            paths |= field_paths(info.annotation, f"{prefix}{name}.")
        else:
            paths[f"{prefix}{name}"] = info.description or ""
    return paths


def _read_yaml(file: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the config file {file!r}: {error.strerror}; check --config") from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place else ""
        raise ConfigError(f"the config file {file!r} is not valid YAML{where}; correct it") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"the config file {file!r} holds a {type(tree).__name__}; it has to hold keys such as 'lake:'"
        )
    return tree


def _scalar(text: str, keys: list[str], path: str) -> Any:
    """The value that YAML makes of the text; a text field takes it as it stands, be it all digits."""
    try:
        return yaml.safe_load(text) if text and not _is_text(keys) else text
    except yaml.YAMLError:
        raise ConfigError(f"{path} is {text!r}, which is not a valid value; quote it") from None


def _is_text(keys: list[str]) -> bool:
    model: Any = Config
    for key in keys:
        if not (isinstance(model, type) and issubclass(model, Section) and key in model.model_fields):
            return False
        model = model.model_fields[key].annotation
    return model is str


def _assign(tree: dict[str, Any], keys: list[str], value: Any, path: str) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{path}: {key!r} is a value, not a section; shorten the path")
    tree[keys[-1]] = value


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    value, known = first.get("input"), field_paths()
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "`shotlake config schema` lists all keys"
        return f"unknown key {path}: {hint}"
    if first["type"] == "model_type":
        keys = [key for key in known if key.startswith(f"{path}.")]
        return f"{path} is {value!r}: it is a section; set a key of it, such as {keys[0]}"
    if isinstance(value, str) and re.fullmatch(r"\s*[\d.]+\s*[a-zA-Z%]+\s*", value):
        units = {"s": " of seconds", "bytes": " of bytes", "hours": " of hours", "px": " of pixels"}
        unit = units.get(path.rsplit("_", 1)[-1], "")
        return f"{path} is {value!r}: give a plain number{unit}, without a unit behind it"
    rule = first["msg"][0].lower() + first["msg"][1:]
    meaning = f" ({known[path]})" if known.get(path) else ""
    return f"{path} is {value!r}: {rule}{meaning}"
