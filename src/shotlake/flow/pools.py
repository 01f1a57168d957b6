"""How the steps are spread over the machines: sizes of the actor pools, and the two ways to run a list of blocks.

`run_in_ray` and `run_here` take the same blocks through the same callables and give the same reports; only the first
knows Ray. Every step is at most one core wide, so a core is never given to two decoders.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from shotlake import errors
from shotlake.config import Config, DecodeConfig, EmbedConfig, FlowConfig
from shotlake.errors import ShotlakeError
from shotlake.flow.interrupt import Interrupted
from shotlake.flow.steps import Batch, DecodeUnits, EmbedClips, Probed, WriteVectors, probe_batch, probed_rows
from shotlake.records import ClipSpec, Fingerprint, WorkUnit, work_unit_to_json
from shotlake.table.tombstones import NOTHING, Signs

Block = dict[str, list[str]]
Report = dict[str, Any]

_OURS = re.compile(r"^shotlake\.errors\.(\w+): (.+)$", re.MULTILINE)
EMBED_CPU = 0.4  # what an embed actor leaves to the decoders of a small machine
WRITE_CPU = 0.1
NVDEC_GPU = 0.2  # the part of a GPU that its decoders reserve where an embedder works on it too
PROBE_VIDEOS = 64  # videos a probe task
STARTS, LATE = 3, "timed out during startup"  # tries, and what Ray says when it was too slow


@dataclass(frozen=True, slots=True)
class Job:
    """What the steps are constructed with: small, path-like values that travel to every actor."""

    clip_spec: ClipSpec
    decode: DecodeConfig
    embed: EmbedConfig
    lake_root: str
    run_id: str
    provenance: dict[str, str]
    fingerprint: Fingerprint
    subtitles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Machines:
    """Nodes, the cores of one, and GPUs in all."""

    nodes: int = 1
    cores: int = 1
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Pools:
    """Actors of each step and the share of a machine that each reserves."""

    decode_actors: int
    decode_cpu: float
    decode_gpu: float
    embed_actors: int
    embed_cpu: float
    embed_gpu: float


def size_pools(cpus: int, gpus: int, config: Config) -> Pools:
    """One decoder a core, one embedder a GPU (an eight cores without); all of it fits, or Ray would wait forever.

    Decoders that use NVDEC share a part of every GPU, since Ray hides the GPUs from who reserves none.
    """
    embedding_gpus = 0 if config.embed.device == "cpu" else gpus
    decoding_gpus = gpus if config.decode.device == "nvdec" else 0
    embed_actors = config.flow.embed_actors or embedding_gpus or max(1, cpus // 8)
    decode_actors = config.flow.decode_actors or cpus
    left = cpus - WRITE_CPU - embed_actors * EMBED_CPU
    decode_cpu = max(0.01, min(1.0, int(left / decode_actors * 100) / 100))
    share = NVDEC_GPU if embedding_gpus else 1.0
    decode_gpu = int(share / -(-decode_actors // decoding_gpus) * 1e4) / 1e4 if decoding_gpus else 0.0
    embed_gpu = 0.0 if not embedding_gpus else 1.0 - NVDEC_GPU if decoding_gpus else 1.0
    return Pools(decode_actors, decode_cpu, decode_gpu, embed_actors, EMBED_CPU, embed_gpu)


def pools_of(held: Machines, config: Config) -> Pools:
    """The pools of a run on these machines."""
    return size_pools(held.nodes * held.cores, held.gpus, config)


@contextmanager
def cluster(config: FlowConfig) -> Iterator[None]:
    """The cluster that `flow.ray_address` or RAY_ADDRESS names, or one that is started here and stopped at the end."""
    if config.engine == "local":
        yield
        return
    address = config.ray_address or os.environ.get("RAY_ADDRESS") or None
    if not address and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # a new cluster's default; left unsaid, Ray warns about it
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {} if address else {"num_cpus": config.num_cpus or os.cpu_count(), "include_dashboard": False}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    logging.getLogger("ray").setLevel(logging.ERROR)
    with _without_notes():
        _start(lambda: ray.init(address=address or "local", **quiet, **own))
    try:
        yield
    finally:
        ray.shutdown()


def _start(init: Callable[[], object]) -> None:
    """Ray gives a node of its own 30 s to come up, which a crowded machine does not always keep."""
    for left in reversed(range(STARTS)):
        try:
            init()
            return
        except Exception as error:
            if not left or LATE not in str(error):
                raise


@contextmanager
def _without_notes() -> Iterator[None]:
    """Keep what Ray's C++ core says of its own start and of its own actor pools out of our lines; errors are raised."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def answer(reference: Any) -> Any:
    """What a task of the cluster gave. Errors: as it raised them."""
    import ray

    with _as_raised():
        return ray.get(reference)


def machines(config: Config) -> Machines:
    """What the run holds, for its pools and its bill."""
    if config.flow.engine == "local":
        return Machines(1, os.cpu_count() or 1, 0)
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (sum(node.get(name, 0) for node in alive) for name in ("CPU", "GPU"))
    return Machines(len(alive), max(1, round(cpus / len(alive))), int(gpus))


def run_in_ray(blocks: list[Block], job: Job, pools: Pools, rows_per_file: int) -> Iterator[Report]:
    """B blocks -> decode actors -> embed actors -> writer; one report a file, as they are finished."""
    import ray.data

    actors = ray.data.ActorPoolStrategy
    _quiet()

    def reports() -> Any:
        return (
            ray.data.from_arrow([pa.table(block) for block in blocks])
            .map_batches(
                DecodeUnits,
                fn_constructor_args=(job.clip_spec, job.decode, job.subtitles),
                batch_size=None,
                compute=actors(size=min(pools.decode_actors, len(blocks))),
                num_cpus=pools.decode_cpu,
                num_gpus=pools.decode_gpu,
            )
            .map_batches(
                EmbedClips,
                fn_constructor_args=(job.embed, pools.embed_gpu, job.fingerprint),
                batch_size=job.embed.batch_size,
                compute=actors(size=pools.embed_actors),
                num_cpus=pools.embed_cpu,
                num_gpus=pools.embed_gpu,
            )
            .map_batches(
                WriteVectors,
                fn_constructor_args=(job.lake_root, job.run_id, job.provenance),
                batch_size=rows_per_file,
                compute=actors(size=1),
                num_cpus=WRITE_CPU,
            )
        )

    for row in _rows(reports):
        yield json.loads(row["report"])


def run_here(blocks: list[Block], job: Job, rows_per_file: int) -> Iterator[Report]:
    """The same without Ray: one block after the other in this process."""
    decode = DecodeUnits(job.clip_spec, job.decode, job.subtitles)
    embed = EmbedClips(job.embed, 0.0, job.fingerprint)
    write = WriteVectors(job.lake_root, job.run_id, job.provenance)
    waiting: list[Batch] = []
    with closing(decode):
        for block in blocks:
            for clips in decode({name: np.array(texts, dtype=object) for name, texts in block.items()}):
                waiting.append(embed(clips))
                if sum(len(batch["segment_id"]) for batch in waiting) >= rows_per_file:
                    yield _written(write, waiting)
                    waiting = []
    if waiting:
        yield _written(write, waiting)


def _written(write: WriteVectors, batches: list[Batch]) -> Report:
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return dict(json.loads(write(whole)["report"][0]))


def probe_videos(units: list[WorkUnit], config: Config, signs: Signs = NOTHING) -> Iterator[Probed]:
    """What each unit's container says of itself, in the order of the units, by the engine of the configuration."""
    texts = [work_unit_to_json(unit) for unit in units]
    if config.flow.engine == "local":
        yield from probed_rows(probe_batch({"unit": np.array(texts, dtype=object)}, config.decode, signs))
        return
    import ray.data

    _quiet()
    slices = [pa.table({"unit": texts[i : i + PROBE_VIDEOS]}) for i in range(0, len(texts), PROBE_VIDEOS)]
    options = {"fn_args": (config.decode, signs), "batch_size": None, "num_cpus": 0.5}
    tasks = _rows(lambda: ray.data.from_arrow(slices).map_batches(probe_batch, **options))
    found = {row["unit"]: row for row in tasks}
    yield from (Probed.of(found[text]) for text in texts)


def run_blocks(blocks: list[Block], job: Job, config: Config, rows_per_file: int) -> Iterator[Report]:
    """Blocks -> reports, by the engine of the configuration."""
    if not blocks:  # all that was to do could not even be opened
        return iter(())
    if config.flow.engine == "local":
        return run_here(blocks, job, rows_per_file)
    return run_in_ray(blocks, job, pools_of(machines(config), config), rows_per_file)


def _rows(dataset: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    """Rows as they are finished. Errors: as a worker raised them."""
    with _as_raised():
        yield from dataset().iter_rows()


@contextmanager
def _as_raised() -> Iterator[None]:
    """What a worker raises of our errors is raised here as it was there.

    So is a signal that came while Ray's C++ core was at work, which makes a SystemError of it.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            found = getattr(cause, "cause", None) or cause
            if isinstance(found, ShotlakeError | Interrupted):
                raise found from error
            cause = cause.__cause__
        if told := _told(str(error)):
            raise told from error
        raise


def _told(text: str) -> ShotlakeError | None:
    """Our error in what Ray Data tells of a step that failed: it wraps it twice, and only the words arrive."""
    found = _OURS.findall(text)
    kind = getattr(errors, found[-1][0], None) if found else None
    return kind(found[-1][1]) if isinstance(kind, type) and issubclass(kind, ShotlakeError) else None


def _quiet() -> None:
    """Ray Data's own bars and logs would run over ours; what matters is in our reports."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
