"""Every filter against the same question asked of plain Python dictionaries; every wrong one says where and why."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa
import pytest

from shotlake.errors import QueryError
from shotlake.index.columns import COLUMNS
from shotlake.index.manifest import Shard
from shotlake.query.filters import parse_filter

ROWS = [
    {
        "segment_id": f"s{k}",
        "video_id": f"v{k // 4}",
        "uri": ["s3://b/2024/a.mp4", "s3://b/2025/b (1).mp4", "/local/c.mkv"][k % 3],
        "start_us": k * 1_500_000,
        "end_us": k * 1_500_000 + 2_000_000,
        "recorded_at": None if k % 7 == 6 else datetime(2026, 1, 1 + k, (5 * k) % 24, 59, 40, tzinfo=UTC),
        "collection": ["news", "sport"][k % 2],
        "codec": [None, "h264", "hevc", "av1"][k % 4],
        "has_audio": [True, False, None][k % 3],
        "duration_us": 30_000_000 + k * 10_000_000,
        "text": [None, "Good Evening\nand welcome", "100% sure"][k % 3],
        "metadata": [None, {}, {"title": "The Däy", "year": str(1990 + k)}, {"year": "unknown"}][k % 4],
        "run_id": [None, "20260101T000000Z-0a", "20260202T000000Z-0b"][k % 3],
    }
    for k in range(24)
]
for row in ROWS:
    at = row["recorded_at"]
    row["begin"] = at + timedelta(microseconds=row["start_us"]) if at else None


def told(row: dict[str, Any], name: str) -> str | None:
    return (row["metadata"] or {}).get(name)


BATCH = pa.RecordBatch.from_pylist(ROWS, schema=COLUMNS)  # "begin" is not among its columns


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("collection = news", lambda r: r["collection"] == "news"),
        ('collection="sport"', lambda r: r["collection"] == "sport"),
        ("has_audio", lambda r: r["has_audio"] is True),
        ("not has_audio", lambda r: r["has_audio"] is not True),
        ("has_audio = false", lambda r: r["has_audio"] is False),
        ("codec in (h264, av1)", lambda r: r["codec"] in ("h264", "av1")),
        ("codec != h264", lambda r: r["codec"] not in (None, "h264")),
        ("not codec = h264", lambda r: r["codec"] != "h264"),
        ('uri ~ "s3://b/2024/*"', lambda r: fnmatchcase(r["uri"], "s3://b/2024/*")),
        ('uri ~ "*(1).mp?"', lambda r: r["uri"].endswith("(1).mp4")),
        ("uri ~ /local/*", lambda r: r["uri"].startswith("/local/")),
        ("start_s >= 4.5 and end_s < 9", lambda r: r["start_us"] >= 4_500_000 and r["end_us"] < 9_000_000),
        ("duration_s > 100 or collection = news", lambda r: r["duration_us"] > 1e8 or r["collection"] == "news"),
        ("date >= 2026-01-10", lambda r: r["begin"] is not None and r["begin"].day >= 10),
        (
            "time >= 22:00 or time < 04:00",
            lambda r: r["begin"] is not None and not time(4) <= r["begin"].time() < time(22),
        ),
        (
            "recorded_at < 2026-01-05T10:00",
            lambda r: r["recorded_at"] is not None and r["recorded_at"] < datetime(2026, 1, 5, 10, tzinfo=UTC),
        ),
        (
            "collection = news and (codec = hevc or codec = av1) and not has_audio",
            lambda r: r["collection"] == "news" and r["codec"] in ("hevc", "av1") and r["has_audio"] is not True,
        ),
        (
            "video_id = v1 OR video_id = v2 AND start_s < 13",
            lambda r: r["video_id"] == "v1" or (r["video_id"] == "v2" and r["start_us"] < 13e6),
        ),
        ('segment_id = "s3"', lambda r: r["segment_id"] == "s3"),
        ('text contains "good evening"', lambda r: "Good" in (r["text"] or "")),
        ('text contains "0% s" or text ~ "Good*welcome"', lambda r: r["text"] is not None),
        ("meta.title = \"The Däy\"", lambda r: told(r, "title") == "The Däy"),
        ("meta.title contains DÄY", lambda r: told(r, "title") == "The Däy"),
        ("meta.year >= 2000", lambda r: (told(r, "year") or "").isdigit() and int(told(r, "year")) >= 2000),
        ("meta.year in (1994, unknown)", lambda r: told(r, "year") in ("1994", "unknown")),
        ("not meta.year = 1994", lambda r: told(r, "year") != "1994"),
        ("meta.director = x", lambda r: False),
        ("run = 20260101T000000Z-0a", lambda r: r["run_id"] == "20260101T000000Z-0a"),
        ("run_id >= 20260202T", lambda r: r["run_id"] == "20260202T000000Z-0b"),
        ("run_id ~ 2026*", lambda r: r["run_id"] is not None),
    ],
)  # fmt: skip
def test_a_filter_means_what_it_says(text, wanted):
    assert parse_filter(text).rows(BATCH).to_pylist() == [wanted(row) for row in ROWS]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colection = news", r"letter 1: 'colection' is not a field; there are meta.NAME, segment_id, .*, time"),
        ("collection", "behind 'collection' one of"),
        ("collection = ", "ends where a value is expected"),
        ("start_s > soon", r"letter 11: 'soon' is not seconds such as 2\.5"),
        ("date = yesterday", "'yesterday' is not a date such as 2026-01-31"),
        ("has_audio = maybe", "'maybe' is not true or false"),
        ("time > 25:00", "not a time of day"),
        ("(has_audio", r"ends where '\)' is expected"),
        ("has_audio has_audio", "'has_audio' is too much; join"),
        ("start_s ~ 3", "~ looks into texts"),
        ("start_s contains 3", "contains looks into texts"),
        ("meta. = 3", "'meta.' is not a field"),
        ('uri = "open', "cannot be read at"),
        ("codec in h264", r"'\(' is expected instead of 'h264'"),
        ("__import__('os')", "is not a field"),
        ("1 = 1; drop table segments", "is not a field"),
        ("", "ends where a field is expected"),
        ("not " * 5_000 + "has_audio", "5001 words; 400 are allowed"),
    ],
)
def test_a_wrong_filter_says_where_and_what_is_allowed(text, words):
    with pytest.raises(QueryError, match=words):
        parse_filter(text)


def shard(first: int, n: int) -> Shard:
    """What a manifest says of these rows."""
    rows = ROWS[first : first + n]
    times = [row["recorded_at"] for row in rows if row["recorded_at"]]
    collections = tuple(sorted({row["collection"] for row in rows}))
    return Shard(
        name=f"{first}", first_row=first, n_rows=n, collections=collections,
        recorded_from=min(times, default=None), recorded_to=max(times, default=None),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("collection = news", [0, 8, 22, 20]),
        ("collection in (sport, other) and has_audio", [0, 8, 23]),
        ('collection ~ "n*" and recorded_at < 2026-01-08', [0]),
        ("recorded_at >= 2026-01-10T00:00", [8, 22, 23]),
        ("collection = news or recorded_at > 2027-01-01", [0, 8, 22, 20]),
        ("recorded_at = 2026-01-03T10:59:40", [0, 8, 22, 23, 20]),
        ("not collection = news", [0, 8, 22, 23, 20]),
        ("collection != news", [0, 8, 23]),
        ("recorded_at < 2026-02-01", [0, 8, 22, 23]),
        ("collection = nothing", []),
    ],
)
def test_shards_that_can_hold_no_such_row_are_not_read(text, read):
    """Rows 20 alone have no time and a shard says so; what is not pruned gives the same rows as all shards do."""
    shards = [shard(0, 8), shard(8, 12), shard(22, 1), shard(23, 1), shard(20, 1)]
    wanted = parse_filter(text)
    kept = [s for s in shards if wanted.may_hold(s)]
    assert [s.first_row for s in kept] == read
    for s in shards:
        if s not in kept:
            assert not any(wanted.rows(BATCH.slice(s.first_row, s.n_rows)).to_pylist())


def test_an_index_of_an_earlier_version_answers_with_nothing():
    older = BATCH.drop_columns(["text", "metadata", "run_id"])
    for text in ("text contains evening", "meta.title = x", "meta.year > 3", "run = x", "run_id != x"):
        assert not any(parse_filter(text).rows(older).to_pylist())
