"""The wire: objects of the OpenAI API that we speak, their ids and names (contract.md)."""

from tailor.protocol.chat import (
    AnswerMessage,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    Choice,
    ChoiceLogprobs,
    CompletionDeleted,
    FinishReason,
    FunctionCall,
    MetadataUpdate,
    StoredMessage,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    Usage,
)
from tailor.protocol.error import ErrorDetail, ErrorEnvelope
from tailor.protocol.files import MAX_FILE_BYTES, UPLOAD_PURPOSES, FileDeleted, FileObject
from tailor.protocol.fine_tuning import (
    CheckpointMetrics,
    CheckpointObject,
    EventObject,
    JobError,
    JobObject,
    JobRequest,
    Method,
)
from tailor.protocol.graders import (
    Grader,
    GraderErrors,
    GraderMetadata,
    GraderRun,
    GraderRunRequest,
    GraderValidated,
    GraderValidateRequest,
)
from tailor.protocol.hyperparameters import Hyperparameters
from tailor.protocol.ids import ID_PATTERN, is_id, new_id, random_name
from tailor.protocol.models import ModelDeleted, ModelObject
from tailor.protocol.names import BASE_PATTERN, SUFFIX_PATTERN, VersionName
from tailor.protocol.pages import CursorPage, WholeList
from tailor.protocol.proof import Arm, Difference, Interval, Proof, ProofItem
from tailor.protocol.reinforcement import ReinforcementHyperparameters, ReinforcementMethod

__all__ = [
    "BASE_PATTERN",
    "ID_PATTERN",
    "MAX_FILE_BYTES",
    "SUFFIX_PATTERN",
    "UPLOAD_PURPOSES",
    "AnswerMessage",
    "Arm",
    "ChatCompletion",
    "ChatMessage",
    "ChatRequest",
    "CheckpointMetrics",
    "CheckpointObject",
    "Choice",
    "ChoiceLogprobs",
    "CompletionDeleted",
    "CursorPage",
    "Difference",
    "ErrorDetail",
    "ErrorEnvelope",
    "EventObject",
    "FileDeleted",
    "FileObject",
    "FinishReason",
    "FunctionCall",
    "Grader",
    "GraderErrors",
    "GraderMetadata",
    "GraderRun",
    "GraderRunRequest",
    "GraderValidateRequest",
    "GraderValidated",
    "Hyperparameters",
    "Interval",
    "JobError",
    "JobObject",
    "JobRequest",
    "MetadataUpdate",
    "Method",
    "ModelDeleted",
    "ModelObject",
    "Proof",
    "ProofItem",
    "ReinforcementHyperparameters",
    "ReinforcementMethod",
    "StoredMessage",
    "TokenLogprob",
    "ToolCall",
    "TopLogprob",
    "Usage",
    "VersionName",
    "WholeList",
    "is_id",
    "new_id",
    "random_name",
]
