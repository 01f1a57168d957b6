"""How S3 is reached: ambient credentials, one client of each library, and their errors as ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from obstore.exceptions import (
    AlreadyExistsError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from shotlake.errors import (
    AccessDenied,
    AlreadyExists,
    Archived,
    NotFound,
    ShotlakeError,
    SourceChanged,
    StoreError,
    Unavailable,
)


def split(uri: str) -> tuple[str, str]:
    """(bucket, key) of an s3:// URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def endpoint() -> str:
    """The endpoint that the environment names, or ""."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


@cache
def check_credentials() -> None:
    """botocore's chain (environment, profile, role) finds out in a second; obstore would try for minutes."""
    import botocore.session

    if not _anonymous() and botocore.session.get_session().get_credentials() is None:
        raise AccessDenied(
            "no AWS credentials in the environment, a profile or a role; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket"
        )


@cache
def bucket_of(name: str) -> S3Store:
    """obstore's view of a bucket. Errors: AccessDenied without credentials."""
    check_credentials()
    options: dict[str, Any] = {"client_options": {"allow_http": endpoint().startswith("http://"), "timeout": "120s"}}
    if not _anonymous():
        options["credential_provider"] = _credentials
    return S3Store(name, retry_config={"max_retries": 5}, **options)


def _credentials() -> Any:
    """The ambient credentials as obstore asks for them, again whenever they are about to expire."""
    import botocore.session

    found = botocore.session.get_session().get_credentials()
    if found is None:
        raise AccessDenied("the AWS credentials are gone; renew them")
    frozen = found.get_frozen_credentials()
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": getattr(found, "_expiry_time", None),
    }


@cache
def filesystem() -> Any:
    """s3fs, for what obstore cannot do. Errors: AccessDenied without credentials."""
    import s3fs

    check_credentials()
    return s3fs.S3FileSystem(anon=_anonymous())


def call_s3(method: str, **arguments: Any) -> Any:
    """One request of botocore's by its name, as s3fs makes it."""
    from fsspec.asyn import sync

    system = filesystem()
    return sync(system.loop, system._call_s3, method, **arguments)


def _anonymous() -> bool:
    return os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true")


@contextmanager
def s3_errors(uri: str) -> Iterator[None]:
    """Wrap what obstore, botocore and s3fs raise, once, at this border."""
    try:
        yield
    except (ShotlakeError, InvalidPathError):
        raise
    except AlreadyExistsError:
        raise AlreadyExists(f"{uri} exists") from None
    except (NotFoundError, FileNotFoundError):
        raise NotFound(f"{uri!r} is not there") from None
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        if _answer(error).get("Error", {}).get("Code") == "InvalidObjectState":
            raise Archived(
                f"{uri!r} lies in an archive class; restore it, or leave it out by catalog.exclude"
            ) from None
        raise AccessDenied(f"the store refused {uri!r}; check the credentials and the bucket policy") from None
    except Exception as error:
        raise store_error(uri, error) from error


def _answer(error: Exception) -> dict[str, Any]:
    """What the store answered, where botocore raised the error or s3fs made another of it."""
    return getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}


def store_error(uri: str, error: Exception) -> ShotlakeError:
    """What botocore, obstore or delta-rs said of an object or a table, as an error of ours."""
    text = " ".join(re.sub(r"\x1b\[\d*m|↳", " ", str(error)).split()) or type(error).__name__
    said = re.search(r"non-2xx status code\W+(\d{3})", text)
    status = int(said[1]) if said else _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status == 412:
        return SourceChanged(f"{uri!r} was replaced after it was listed; run again")
    if status in (401, 403):
        return AccessDenied(f"the store refused {uri!r}; check the credentials and the bucket policy")
    if status == 404:
        return NotFound(f"{uri!r} is not there")
    if status in (429, 500, 502, 503, 504):
        return Unavailable(f"{uri!r}: the store answered {status} ({text[:300]}); try again later")
    return StoreError(f"{uri!r}: {text[:300]}")
