"""Training: (recipe, tokenised dataset, base) -> a stream of metrics and a version's weights."""

from tailor.training.alignment import Aligner
from tailor.training.batches import Tokenized, TokenizedExample, tokenize
from tailor.training.checkpoints import load_checkpoint, save_checkpoint, software
from tailor.training.distillation import TokenizedLesson, same_tokens, tokenize_lessons
from tailor.training.imitation import Imitation
from tailor.training.learner import Learner, StepResult
from tailor.training.loop import make_deterministic, train
from tailor.training.objective import ExampleScore, score
from tailor.training.opinions import TokenizedOpinion, tokenize_opinions
from tailor.training.own_answers import OwnAnswers
from tailor.training.preferences import TokenizedPair, mean_log_likelihoods, tokenize_preferences
from tailor.training.recipe import Recipe
from tailor.training.resolving import DatasetFacts
from tailor.training.reward_models import RewardModel, is_reward_model
from tailor.training.rollouts import (
    Asked,
    GradeAll,
    Practice,
    TokenizedPrompt,
    Write,
    Written,
    tokenize_prompts,
)
from tailor.training.texts import tokenize_texts
from tailor.training.updates import EpochEnd, Note, Progress, StepMetrics, Update
from tailor.training.wanted import Wanted

__all__ = [
    "Aligner",
    "Asked",
    "DatasetFacts",
    "EpochEnd",
    "ExampleScore",
    "GradeAll",
    "Imitation",
    "Learner",
    "Note",
    "OwnAnswers",
    "Practice",
    "Progress",
    "Recipe",
    "RewardModel",
    "StepMetrics",
    "StepResult",
    "Tokenized",
    "TokenizedExample",
    "TokenizedLesson",
    "TokenizedOpinion",
    "TokenizedPair",
    "TokenizedPrompt",
    "Update",
    "Wanted",
    "Write",
    "Written",
    "is_reward_model",
    "load_checkpoint",
    "make_deterministic",
    "mean_log_likelihoods",
    "same_tokens",
    "save_checkpoint",
    "score",
    "software",
    "tokenize",
    "tokenize_lessons",
    "tokenize_opinions",
    "tokenize_preferences",
    "tokenize_prompts",
    "tokenize_texts",
    "train",
]
