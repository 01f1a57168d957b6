"""Schedules that found a fault once, and as which kinds of finding. They are played before all others."""

from __future__ import annotations

FOUND: dict[str, tuple[str, tuple[str, ...]]] = {
    "erase removes a file that waits for its commit": (
        "half~backfill~erase~between~before.PUT:outcomes/#T#Z-#/#/#.jsonl.1",
        ("missing", "end", "command"),
    ),
    "erase stops a run whose file it removed": (
        "half~backfill~erase~between~after.PUT:tables/segments/data.1",
        ("command",),
    ),
    "maintain removes outcomes of a commit that comes": (
        "half~maintain~backfill~pair-kill~before.LIST:outcomes/.2~after.PUT:tables/segments/log.2",
        ("doubled", "balance"),
    ),
    "units of an erased video are written after the erasure": (
        "half~backfill~erase~between~before.PUT:tables/segments/log.2",
        ("trace",),
    ),
    "the new version of an erased object comes back": (
        "changed~backfill~erase~kill-between~after.PUT:tables/segments/log.1",
        ("extra", "trace"),
    ),
    "an erasure that died says that there is nothing to erase": (
        "half~erase~~kill~after.PUT:tables/units/log.2",
        ("trace", "retention"),
    ),
    "an index build fails beside an erasure": (
        "stale~build~erase~between~before.PUT:index/#/epochs/#-#/fused/trained.faiss.1",
        ("command",),
    ),
    "a build is published with erased rows under a clock that is ahead": (
        "stale~build~erase~between@store+90~before.PUT:index/#/#-#/manifest.json.1",
        ("trace",),
    ),
    "erase removes a generation between the look and the pointer": (
        "full~publish~erase~between~before.PUT:index/#/CURRENT/#.json.1",
        ("generation", "end"),
    ),
    "maintain removes a generation between the look and the pointer": (
        "full~publish~maintain~between~before.PUT:index/#/CURRENT/#.json.1",
        ("generation", "end"),
    ),
    "maintain deletes content that came back": (
        "back~maintain~backfill~between~before.GET:tables/retired/data.1",
        ("lost", "unserved", "balance"),
    ),
    "a new version that cannot be read hides the old rows": (
        "changed~flaky~~kill~after.PUT:tables/runs/data.1",
        ("unserved",),
    ),
    "a dead holder elsewhere blocks a root above its own": (
        "half~part~backfill~kill-between@hosts~after.PUT:tables/segments/data.1",
        ("blocked",),
    ),
    "an update beside a run is refused": (
        "half~backfill~update~between~after.PUT:tables/segments/log.2",
        ("command",),
    ),
    "maintain fails beside a run": (
        "back~maintain~backfill~between~before.GET:tables/pooled/data.1",
        ("command",),
    ),
    "maintain removes a file of an uncommitted append": (
        "half~backfill~maintain~between~after.PUT:tables/segments/data.1",
        ("missing", "command", "end"),
    ),
    "an erasure that died leaves a log without history": (
        "half~erase~~kill~after.PUT:tables/units/log.2",
        ("retention",),
    ),
    "an erasure leaves what a video was called before it moved": (
        "moved~erase~erase~between~before.LIST:erasures/.1",
        ("trace",),
    ),
    "an archive moves while a video of it is erased": (
        "moved~relocate~erase~between~before.PUT:tables/retired/data.1",
        ("trace",),
    ),
    "a checkpoint goes while a table is opened": (
        "back~erase~erase~between~before.GET:tables/units/checkpoint.1",
        ("command",),
    ),
    "an erasure removes a file under a reader": (
        "full~maintain~erase~between~before.GET:tables/units/data.12",
        ("command",),
    ),
    "an erasure removes a file that a run is about to write anew": (
        "back~backfill~erase~between~before.GET:tables/pooled/data.1",
        ("command",),
    ),
    "the rows that an index was measured with have moved": (
        "moved~backfill~relocate~between~before.PUT:leases/run/#.released.1",
        ("command",),
    ),
}
