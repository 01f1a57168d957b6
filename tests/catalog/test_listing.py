"""Every object under a root is a video or is skipped for a reason."""

from __future__ import annotations

import os
from pathlib import Path

import botocore.session
import pytest
from tests.catalog.listed import listed

from shotlake import storage
from shotlake.catalog.listing import default_collection
from shotlake.config import CatalogConfig
from shotlake.errors import SourceMissing

ODD_KEYS = ["ä ö/ü.mp4", "a b/c\nd.mkv", "q%2Fr.mp4", "dots..mp4", "x" * 250 + ".mp4", "no suffix", "quote'\".mp4"]


def fill(root: str, *keys: str, size: int = 3) -> None:
    for key in keys:
        if storage.is_remote(root):
            put(f"{root}/{key}", b"x" * size)
        else:
            (Path(root) / key).parent.mkdir(parents=True, exist_ok=True)
            (Path(root) / key).write_bytes(b"x" * size)


def put(uri: str, data: bytes) -> None:
    """Any key whatever, as other programs may have written it."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client = botocore.session.get_session().create_client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.put_object(Bucket=bucket, Key=key, Body=b"" if key.endswith("/") else data)
    client.close()


def names(root: str, **config: object) -> tuple[list[str], dict[str, str]]:
    videos, skipped = listed(root, CatalogConfig(**config))  # type: ignore[arg-type]
    return [v.uri.removeprefix(root + "/") for v in videos], {row["key"]: row["reason"] for row in skipped}


def test_content_decides_except_for_named_suffixes(tmp_path: Path) -> None:
    root = str(tmp_path)
    fill(root, "a/x.mp4", "a/x.srt", "README.MD", "b.unknown")
    videos, skipped = names(root)
    assert videos == ["a/x.mp4", "b.unknown"]
    assert skipped == {"README.MD": "suffix .md", "a/x.srt": "suffix .srt"}


def test_odd_keys_survive_locally(tmp_path: Path) -> None:
    fill(str(tmp_path), *ODD_KEYS)
    videos, skipped = names(str(tmp_path))
    assert (sorted(videos), skipped) == (sorted(ODD_KEYS), {})


def test_a_name_that_is_not_unicode_is_skipped_with_the_reason(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"bad\xff.mp4")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    assert names(str(tmp_path)) == ([], {"bad\\udcff.mp4": "name is not UTF-8"})


@pytest.mark.s3
@pytest.mark.parametrize("more", [[], ["z//double.mp4", "/slash.mp4"]], ids=["obstore", "s3fs"])
def test_odd_keys_and_folder_markers_survive_on_s3(s3_root: str, more: list[str]) -> None:
    is_real = os.environ.get("SHOTLAKE_TEST_S3") == "radosgw"  # moto has no route for a newline
    keys = [key for key in ODD_KEYS if is_real or "\n" not in key] + more
    fill(s3_root, *keys, "folder/")
    videos, skipped = names(s3_root)
    assert sorted(videos) == sorted(keys)
    assert skipped == {"folder/": "folder marker"}


@pytest.mark.parametrize(
    ("globs", "kept"),
    [
        (["**"], ["a/b/c.mp4", "a/d.mp4", "e.mkv"]),
        (["*"], ["e.mkv"]),
        (["**/*.mp4"], ["a/b/c.mp4", "a/d.mp4"]),
        (["a/*"], ["a/d.mp4"]),
        (["a/**"], ["a/b/c.mp4", "a/d.mp4"]),
        (["?.mkv", "a/[!x].mp4"], ["a/d.mp4", "e.mkv"]),
    ],
)
def test_include_globs(tmp_path: Path, globs: list[str], kept: list[str]) -> None:
    fill(str(tmp_path), "a/b/c.mp4", "a/d.mp4", "e.mkv")
    assert names(str(tmp_path), include=globs)[0] == kept


def test_the_first_reason_is_the_one_that_is_told(tmp_path: Path) -> None:
    fill(str(tmp_path), "raw/A.TXT", "b.txt", "c.mp4")
    reasons = names(str(tmp_path), exclude=["raw/**"], min_bytes=50, skip_suffixes=(".Txt",))[1]
    assert reasons == {"raw/A.TXT": "excluded by raw/**", "b.txt": "suffix .txt", "c.mp4": "smaller than 50 bytes"}


def test_exclude_and_size_give_their_reasons(tmp_path: Path) -> None:
    fill(str(tmp_path), "raw/a.mp4", "b.mp4")
    fill(str(tmp_path), "c.mp4", size=100)
    videos, skipped = names(str(tmp_path), exclude=["raw/**"], min_bytes=50)
    assert videos == ["c.mp4"]
    assert skipped == {"raw/a.mp4": "excluded by raw/**", "b.mp4": "smaller than 50 bytes"}


def test_sizes_and_ages_have_bounds(tmp_path: Path) -> None:
    fill(str(tmp_path), "old.mp4", "small.mp4")
    fill(str(tmp_path), "large.mp4", size=100)
    os.utime(tmp_path / "old.mp4", (0, 0))
    videos, skipped = names(str(tmp_path), max_bytes=50, modified_since="2000-01-01")
    assert videos == ["small.mp4"]
    assert skipped == {"large.mp4": "larger than 50 bytes", "old.mp4": "modified before 2000-01-01T00:00:00Z"}


def test_a_lake_under_the_root_is_not_the_archive(tmp_path: Path) -> None:
    fill(str(tmp_path), "a.mp4", "lake/tables/segments/x.parquet", "lakeside.mp4")
    videos, skipped = listed(str(tmp_path), CatalogConfig(), lake_root=str(tmp_path / "lake"))
    assert ([Path(v.uri).name for v in videos], skipped) == (["a.mp4", "lakeside.mp4"], [])


def test_collections_are_named_after_their_root(tmp_path: Path) -> None:
    assert default_collection("s3://bucket") == "bucket"
    assert default_collection("s3://bucket/news/2024/") == "2024"
    fill(str(tmp_path / "sports"), "a.mp4")
    (own,), _ = listed(str(tmp_path / "sports"), CatalogConfig())
    (given,), _ = listed(str(tmp_path / "sports"), CatalogConfig(), "tv")
    assert (own.collection, given.collection, own.video_id) == ("sports", "tv", given.video_id)


def test_a_missing_root_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="no folder"):
        listed(str(tmp_path / "none"), CatalogConfig())
