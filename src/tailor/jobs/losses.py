"""How hard each training example still is: people find bad data with it."""

from __future__ import annotations

import json

from tailor.jobs.attempt import Attempt
from tailor.jobs.prepare import Prepared
from tailor.store import FileRecord
from tailor.training import Learner, score

MOST_BY_DEFAULT = 20_000
"""Examples up to which the file is made unasked: it costs about a third of an epoch."""


def write_losses(attempt: Attempt, prepared: Prepared, learner: Learner) -> FileRecord | None:
    """The loss of every training example under the trained weights, hardest first, as a result file.

    One JSON object a line: `line` of the training file, `loss` in nats per answer token, `num_tokens` it is
    the mean of, `token_accuracy`. None where the method has no answers, or nobody asked for so many.
    """
    wanted, examples = prepared.options.example_losses, prepared.tokenized.examples
    if prepared.recipe.method != "supervised" or wanted is False:
        return None
    if wanted is None and len(examples) > MOST_BY_DEFAULT:
        return None
    scores = score(learner.loaded, examples, on_microbatch=attempt.pulse.tick)
    rows = [
        {
            "line": example.line,
            "loss": round(found.loss_sum / max(1, found.num_tokens), 5),
            "num_tokens": found.num_tokens,
            "token_accuracy": round(found.num_correct / max(1, found.num_tokens), 5),
        }
        for example, found in zip(examples, scores, strict=True)
    ]
    rows.sort(key=lambda row: (-row["loss"], row["line"]))
    return attempt.store.files.add(
        attempt.job.tenant,
        data="".join(json.dumps(row) + "\n" for row in rows).encode(),
        filename="example_losses.jsonl",
        purpose="fine-tune-results",
        once_key=f"losses:{attempt.job.id}",
    )
