"""The error tree: every class has a stable code, a policy and an exit status; messages say what, its value, what to do.

    ShotlakeError
      UsageError               the caller's words are wrong                          exit 2
        ConfigError            a key, a unit or a value of the configuration
        QueryError             a query that cannot be answered as asked
      PreflightError           nothing was started because something is missing      exit 4
        SourceMissing  AccessDenied  BadInventory  BadTable  NoIndex  BadModel  LakeFormat  UnsafeStore  NoPrice
        ModelNotNamed
      MediaError               one video cannot be read; becomes a row in `failures`
        Empty  Unreadable  NotMedia  NoStreams  UnsupportedCodec  Encrypted  NoDecodableFrames
        TooManyErrors  Truncated  Corrupt  StreamLost  OutOfMemory  TimedOut  Crashed  BeyondEnd
        ErasedContent          what it holds was erased under another name; no row is made of it
      StoreError               the object store answered badly (retried)
        SourceChanged          the object was replaced after it was listed
        NotFound  AlreadyExists  Unavailable
        ShardsLost             a process that held shards of the index died while it was asked
        TooSlow                what the service needs for an answer did not come in time
        Archived               the object lies in a class that has to be restored first
      EmbedError               a clip could not be embedded; becomes a row
        NonFiniteVector  BadClip
      CommitError              the lake refused; the run stops with what is committed  exit 1
        LeaseLost  LeaseHeld  ModelChanged  InvalidFile  DuplicateUnit  Unbalanced  TooManyFailures
        Replaced
      IndexingError            a generation was not published                        exit 1
        RecallTooLow  CorruptGeneration  NoQueries

Every class takes one message only, so that it survives pickling between Ray workers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Policy(StrEnum):
    """What the flow does with an error: try again, write a row in `failures`, or stop the run."""

    RETRY = "retry"
    RECORD = "record"
    ABORT = "abort"


class ShotlakeError(Exception):
    """Root of the tree. `code` is the column value in `failures` and the label in metrics."""

    code: ClassVar[str] = "error"
    policy: ClassVar[Policy] = Policy.ABORT
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    @property
    def message(self) -> str:
        """The sentence for a person."""
        return str(self.args[0]) if self.args else ""


class UsageError(ShotlakeError):
    """The words of the call are wrong."""

    code = "usage"
    exit_status = 2


class ConfigError(UsageError):
    """A key, a unit or a value of the configuration is wrong."""

    code = "config"


class QueryError(UsageError):
    """A query cannot be answered as it was asked."""

    code = "query"


class PreflightError(ShotlakeError):
    """Something that the run needs is missing; nothing was started and nothing was written."""

    code = "preflight"
    exit_status = 4


class SourceMissing(PreflightError):
    """The folder, bucket or prefix to read does not exist."""

    code = "source_missing"


class AccessDenied(PreflightError):
    """The store refused the ambient credentials, or there are none."""

    code = "access_denied"


class BadInventory(PreflightError):
    """An S3 Inventory that is incomplete, or not what its manifest says."""

    code = "bad_inventory"


class BadTable(PreflightError):
    """A table of URIs or of metadata that cannot be read, or does not name each video once."""

    code = "bad_table"


class NoIndex(PreflightError):
    """The lake has no published index generation yet."""

    code = "no_index"


class BadModel(PreflightError):
    """The model directory or checkpoint cannot be used."""

    code = "bad_model"


class ModelNotNamed(PreflightError):
    """The toy model would fill a large archive without having been asked for by name."""

    code = "model_not_named"


class LakeFormat(PreflightError):
    """The lake, or a table of it, has a format that this version does not know."""

    code = "lake_format"


class UnsafeStore(PreflightError):
    """The store has no create-only put, so commits could overwrite each other."""

    code = "unsafe_store"


class NoPrice(PreflightError):
    """The price book has no row for the instance."""

    code = "no_price"


class MediaError(ShotlakeError):
    """One video cannot be read in whole or in part."""

    code = "media"
    policy = Policy.RECORD


class Empty(MediaError):
    """The object has zero bytes."""

    code = "empty"


class Unreadable(MediaError):
    """A known container whose index is missing or broken."""

    code = "unreadable"


class NotMedia(MediaError):
    """The bytes are not one of the allowed containers."""

    code = "not_media"


class NoStreams(MediaError):
    """The container opens and holds neither picture nor sound."""

    code = "no_streams"


class UnsupportedCodec(MediaError):
    """No decoder for any stream."""

    code = "unsupported_codec"


class Encrypted(MediaError):
    """The streams are encrypted."""

    code = "encrypted"


class NoDecodableFrames(MediaError):
    """The streams were read to the end without one frame."""

    code = "no_decodable_frames"


class TooManyErrors(MediaError):
    """Decoding was given up after too many errors."""

    code = "too_many_errors"


class Truncated(MediaError):
    """The streams end before the declared duration."""

    code = "truncated"


class Corrupt(MediaError):
    """Packets or frames were damaged."""

    code = "corrupt"


class StreamLost(MediaError):
    """One of the two streams ended much earlier than the other."""

    code = "stream_lost"


class OutOfMemory(MediaError):
    """The decoder asked for more memory than it is allowed."""

    code = "out_of_memory"


class TimedOut(MediaError):
    """The decoder made no progress, or ran past its budget."""

    code = "timed_out"


class Crashed(MediaError):
    """The decoder's process died."""

    code = "crashed"


class BeyondEnd(MediaError):
    """The cells lie behind the real end of the streams."""

    code = "beyond_end"


class ErasedContent(MediaError):
    """What the object holds was erased under another name: it is skipped, and nothing is written of it."""

    code = "erased"


class StoreError(ShotlakeError):
    """The object store answered badly; worth another try."""

    code = "io_error"
    policy = Policy.RETRY


class NotFound(StoreError):
    """The object is not there."""

    code = "not_found"


class AlreadyExists(StoreError):
    """A create-only put found an object under that name."""

    code = "already_exists"


class Unavailable(StoreError):
    """The store asked to slow down, or is down."""

    code = "unavailable"


class ShardsLost(StoreError):
    """A process that held shards of the index died while it was asked."""

    code = "shards_lost"


class TooSlow(StoreError):
    """What the service needs for an answer did not come in time."""

    code = "too_slow"


class SourceChanged(StoreError):
    """The object's etag is not the one that was listed."""

    code = "source_changed"
    policy = Policy.RECORD


class Archived(StoreError):
    """The object lies in an archive class and has to be restored before it can be read."""

    code = "archived"
    policy = Policy.RECORD


class EmbedError(ShotlakeError):
    """A clip could not be embedded."""

    code = "embed_error"
    policy = Policy.RECORD


class NonFiniteVector(EmbedError):
    """The model returned NaN or infinity."""

    code = "non_finite_vector"


class BadClip(EmbedError):
    """A clip has neither frames nor sound, or the wrong shape."""

    code = "bad_clip"


class CommitError(ShotlakeError):
    """The lake refused a write."""

    code = "commit"


class Replaced(CommitError):
    """A data file that was to be written anew was replaced by another program."""

    code = "replaced"


class LeaseHeld(CommitError):
    """Another run works on the same source and space."""

    code = "lease_held"


class LeaseLost(CommitError):
    """Another run has taken the lease over; this one must not write any more."""

    code = "lease_lost"


class ModelChanged(CommitError):
    """A machine of the run loads another model than the run began with."""

    code = "model_changed"


class InvalidFile(CommitError):
    """A data file does not hold what its report says."""

    code = "invalid_file"


class DuplicateUnit(CommitError):
    """A data file holds a unit that is in the table already."""

    code = "duplicate_unit"


class Unbalanced(CommitError):
    """Videos or cells do not add up."""

    code = "unbalanced"


class TooManyFailures(CommitError):
    """More videos failed than `limits.max_failure_ratio` allows."""

    code = "too_many_failures"


class IndexingError(ShotlakeError):
    """An index generation could not be built or published."""

    code = "index"


class NoQueries(IndexingError):
    """The rows that a generation was measured with are all gone, such as those of an archive that moved."""

    code = "no_queries"


class RecallTooLow(IndexingError):
    """The measured recall is under `index.target_recall`."""

    code = "recall_too_low"


class CorruptGeneration(IndexingError):
    """A file of the generation does not have the sha256 of its manifest."""

    code = "corrupt_generation"


# Codes whose units are planned again by the next run; at most `flow.max_attempts` times across runs.
RETRYABLE_CODES = frozenset(
    {StoreError.code, Unavailable.code, NotFound.code, TimedOut.code, Crashed.code, OutOfMemory.code, EmbedError.code}
)
