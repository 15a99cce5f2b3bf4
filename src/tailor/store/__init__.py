"""The only SQL and the only paths: files, jobs, events, versions, keys, and the queue between them."""

from tailor.store.aliases import Action, Alias, AliasMove, check_alias_name
from tailor.store.atomic import (
    MANIFEST,
    Corrupt,
    read_manifest,
    remove_directory,
    sweep_leftovers,
    verify_directory,
    write_directory,
)
from tailor.store.crashes import Ending, out_of_memory
from tailor.store.database import wal_is_safe
from tailor.store.disk import require_room
from tailor.store.eval_queue import EvalLease, EvalQueue
from tailor.store.eval_records import SHOWN_ROWS, Eval, EvalItem, EvalRun, Recorded, RunSpec, Tally
from tailor.store.faults import no_fault, reach
from tailor.store.fence import LeaseLost
from tailor.store.files import Receiver
from tailor.store.keys import DEFAULT_TENANT
from tailor.store.labels import Note
from tailor.store.lease import Lease
from tailor.store.paging import NO_METADATA, MetadataFilter, Order
from tailor.store.queue import Queue
from tailor.store.reaper import Reaper
from tailor.store.records import (
    TERMINAL,
    Base,
    Checkpoint,
    ClaimPhase,
    Event,
    FileRecord,
    Job,
    JobPhase,
    JobSpec,
    JobStatus,
    JsonObject,
    Key,
    Level,
    Page,
    Resolved,
    Save,
    StoredCompletion,
    Version,
)
from tailor.store.server_lock import ServerLock, read_server
from tailor.store.store import Store
from tailor.store.usage import ModelUse
from tailor.store.weights import Weights, publish_weights, weights_digest

__all__ = [
    "MANIFEST",
    "DEFAULT_TENANT",
    "NO_METADATA",
    "SHOWN_ROWS",
    "TERMINAL",
    "Action",
    "Alias",
    "AliasMove",
    "Base",
    "Checkpoint",
    "ClaimPhase",
    "Corrupt",
    "Ending",
    "Eval",
    "EvalItem",
    "EvalLease",
    "EvalQueue",
    "EvalRun",
    "Event",
    "FileRecord",
    "Job",
    "JobPhase",
    "JobSpec",
    "JobStatus",
    "JsonObject",
    "Key",
    "Lease",
    "LeaseLost",
    "Level",
    "MetadataFilter",
    "ModelUse",
    "Note",
    "Order",
    "Page",
    "Queue",
    "Reaper",
    "Recorded",
    "Receiver",
    "Resolved",
    "RunSpec",
    "Save",
    "ServerLock",
    "Store",
    "StoredCompletion",
    "Tally",
    "Version",
    "Weights",
    "check_alias_name",
    "no_fault",
    "out_of_memory",
    "publish_weights",
    "reach",
    "read_manifest",
    "read_server",
    "remove_directory",
    "require_room",
    "sweep_leftovers",
    "verify_directory",
    "wal_is_safe",
    "weights_digest",
    "write_directory",
]
