"""Training itself: every step logged, every so often saved, every epoch usable."""

from __future__ import annotations

import math
import time

from tailor.jobs.attempt import Attempt
from tailor.jobs.forecast import Forecast
from tailor.jobs.prepare import Prepared, Start
from tailor.jobs.publish import drop_checkpoint, publish_checkpoint
from tailor.jobs.pulse import BLOCK_PATIENCE_SECONDS, Interrupted
from tailor.jobs.room import compare
from tailor.store import JsonObject, Lease, reach
from tailor.training import EpochEnd, Learner, Note, Progress, StepMetrics, save_checkpoint, train

KEPT_SAVES = 3
KEPT_BEST = 3
"""Checkpoints of reinforcement that stay: those with the best validation reward (contract section 2)."""
_REWARD = "full_valid_mean_reward"
LOG_SECONDS = 0.25
_ROOM_FOR_SAVES = 2.5
_PROOF_PASSES = 3
"""What a proof costs an item, in steps of one example: three scores at a third each, and two answers."""


class Fit:
    """One attempt's run through the remaining steps."""

    def __init__(self, attempt: Attempt, prepared: Prepared, start: Start) -> None:
        self._attempt = attempt
        self._prepared = prepared
        self._start = start
        num_items = min(len(prepared.validation.examples), prepared.options.proof_items)
        self._longest_pause = max(1.0, len(prepared.validation.examples) / prepared.recipe.batch_size)
        """The longest time without a sign of life, in steps: a whole validation."""
        self._forecast = Forecast(
            total_steps=prepared.recipe.num_steps,
            first_step=start.progress.step,
            steps_after=_PROOF_PASSES * num_items / prepared.recipe.batch_size,
        )
        self._log = MetricsLog(attempt.lease)
        self._saver = Saver(attempt, prepared, start.learner, self._log)
        num_examples = len(prepared.tokenized.examples) + prepared.recipe.num_replayed
        self._steps_per_epoch = math.ceil(num_examples / prepared.recipe.batch_size)

    def run(self) -> Progress:
        """Train to the end; where it ended.

        Raises:
            Interrupted: somebody asked for it; the state is saved.
            LeaseLost: the job is somebody else's.
        """
        attempt, prepared = self._attempt, self._prepared
        attempt.pulse.enter("training", patience_seconds=BLOCK_PATIENCE_SECONDS)
        progress = self._start.progress
        self._record_microbatch(progress)
        updates = train(
            self._start.learner,
            prepared.tokenized.examples,
            validation=prepared.validation.examples,
            practice=self._start.practice,
            replay=prepared.replay,
            progress=progress,
            # A step of a large batch takes minutes; a cancelled job stops within a micro-batch.
            on_microbatch=attempt.pulse.tick,
        )
        figures: JsonObject = {}
        for update in updates:
            attempt.pulse.tick()
            match update:
                case Note():
                    once_key = f"note:{update.step}:{update.message}"
                    attempt.lease.add_event(update.message, level=update.level, once_key=once_key)
                case StepMetrics():
                    if update.progress.max_microbatch_tokens != progress.max_microbatch_tokens:
                        self._record_microbatch(update.progress)
                    progress, figures = update.progress, self._note(update)
                    if prepared.memory is not None and update.step == self._start.progress.step + 2:
                        compare(attempt, prepared.memory)
                    reach("after_step")
                    self._keep_if_best(update.step, figures)
                    # The end of an epoch is an update of its own, and the better place to stop or save.
                    if update.step % self._steps_per_epoch and update.step < update.total_steps:
                        self._rest(progress, figures)
                case EpochEnd():
                    progress = update.progress
                    self._end_epoch(progress, figures)
        self._log.flush()
        return progress

    def _record_microbatch(self, progress: Progress) -> None:
        room = progress.max_microbatch_tokens or self._prepared.recipe.max_microbatch_tokens
        self._attempt.lease.use_microbatch(room)

    def _note(self, metrics: StepMetrics) -> JsonObject:
        data = metrics.to_dict() | {
            "epoch": metrics.epoch,
            "learning_rate": metrics.learning_rate,
            "gradient_norm": metrics.gradient_norm,
            "train_tokens": metrics.num_tokens,
        }
        self._log.add(metrics.step, data, metrics.message)
        self._forecast.step_done(metrics.step)
        self._attempt.pulse.be_patient(10 * self._longest_pause * self._forecast.seconds_per_step)
        self._attempt.pulse.expect(estimated_finish=self._forecast.finish_at())
        return data

    def _end_epoch(self, progress: Progress, figures: JsonObject) -> None:
        """A model to use first, then the save: a crash in between redoes the epoch's end, not skips it."""
        self._log.flush()
        is_over = progress.is_stopped or progress.step == self._prepared.recipe.num_steps
        if not is_over and self._prepared.recipe.exploration is None:
            self._publish(progress.step, figures)
        self._saver.save(progress)
        self._stop_if_asked(progress, figures, is_saved=True)

    def _keep_if_best(self, step: int, figures: JsonObject) -> None:
        """Reinforcement: a model to use after a look at the validation prompts, if it is among the best."""
        reward = figures.get(_REWARD)
        if reward is None or step == self._prepared.recipe.num_steps:
            return
        job = self._attempt.job
        kept = self._attempt.store.jobs.checkpoints(job.tenant, job.id, limit=1000).items
        others = {each.step: each for each in kept if _REWARD in each.metrics and each.step != step}
        ranks = {each.step: (each.metrics[_REWARD], each.step) for each in others.values()}
        order = sorted([*ranks.values(), (reward, step)])
        if (reward, step) in order[-KEPT_BEST:]:
            self._log.flush()
            self._publish(step, figures)
        for _, worse in order[:-KEPT_BEST]:
            if worse in others:
                drop_checkpoint(self._attempt, others[worse])

    def _rest(self, progress: Progress, figures: JsonObject) -> None:
        """Between two steps: save if it is time to, stop if somebody wants it."""
        is_due = self._saver.is_due(progress.step)
        if is_due:
            self._saver.save(progress)
        self._stop_if_asked(progress, figures, is_saved=is_due)

    def _stop_if_asked(self, progress: Progress, figures: JsonObject, *, is_saved: bool) -> None:
        reason = self._attempt.pulse.interruption
        if reason is None:
            return
        if not is_saved:
            self._saver.save(progress)
        if reason == "pause" and figures and progress.step < self._prepared.recipe.num_steps:
            # The state that a job rests in can be tried out (contract section 2).
            self._publish(progress.step, figures)
        raise Interrupted(reason)

    def _publish(self, step: int, figures: JsonObject) -> None:
        publish_checkpoint(self._attempt, self._prepared, self._start.learner, step=step, metrics=figures)


class MetricsLog:
    """Writes figures of quick steps together: a transaction costs more than a step of a small model."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._rows: list[tuple[int, JsonObject, str]] = []
        self._written_at = time.monotonic()

    def add(self, step: int, data: JsonObject, message: str) -> None:
        """Keep a step's figures for the next transaction, which is due four times a second."""
        self._rows.append((step, data, message))
        if time.monotonic() - self._written_at >= LOG_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is kept; a saved state must never be ahead of the log."""
        if self._rows:
            self._lease.add_all_metrics(self._rows)
            self._rows = []
        self._written_at = time.monotonic()


class Saver:
    """Writes the state from which a later attempt goes on, as often as it is worth its cost."""

    def __init__(self, attempt: Attempt, prepared: Prepared, learner: Learner, log: MetricsLog) -> None:
        self._attempt = attempt
        self._prepared = prepared
        self._learner = learner
        self._log = log
        self._saved_at = time.monotonic()
        self._cost_seconds = 0.0

    def is_due(self, step: int) -> bool:
        """Whether a crash would cost more than a save does."""
        if step % self._prepared.recipe.checkpoint_every_steps == 0:
            return True
        least = max(self._attempt.settings.save_every_seconds, 20 * self._cost_seconds)
        return time.monotonic() - self._saved_at >= least

    def save(self, progress: Progress) -> None:
        """Write the state at this step; raises StorageFull, leaving the earlier ones as they are."""
        attempt, prepared, lease = self._attempt, self._prepared, self._attempt.lease
        begin = time.monotonic()
        self._log.flush()
        size = sum(tensor.nbytes for tensor in self._learner.state().values())
        attempt.store.require_room(int(_ROOM_FOR_SAVES * size))
        attempt.pulse.be_patient(BLOCK_PATIENCE_SECONDS)
        directory = save_checkpoint(
            lease.directory,
            f"step-{progress.step:08d}.{lease.token}",
            self._learner,
            progress,
            dataset_fingerprint=prepared.training.fingerprint,
        )
        lease.add_save(step=progress.step, directory=directory.name)
        reach("after_save")
        lease.prune_saves(keep=KEPT_SAVES)
        self._saved_at = time.monotonic()
        self._cost_seconds = self._saved_at - begin
