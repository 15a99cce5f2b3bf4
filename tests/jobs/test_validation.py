"""Files are checked first, and everything that is wrong with them is said."""

from __future__ import annotations

import json

from tailor.store import Job, JobSpec, Store
from tests.faults.scene import BASE, TENANT, training_rows
from tests.jobs.conftest import At, Work, log_of


def job_over(store: Store, training: bytes, validation: bytes | None = None) -> Job:
    def upload(data: bytes) -> str:
        return store.files.add(TENANT, data=data, filename="f.jsonl", purpose="fine-tune").id

    return store.jobs.add(
        TENANT,
        JobSpec(
            requested_model=BASE,
            base=BASE,
            training_file=upload(training),
            validation_file=None if validation is None else upload(validation),
        ),
    )


def bad_rows(count: int) -> bytes:
    return b'{"messages": [{"role": "user", "content": "only a question"}]}\n' * count


def test_every_bad_line_is_named_with_field_and_remedy(store: Store, work: Work) -> None:
    rows = training_rows(20).split(b"\n")
    rows[4] = b'{"messages": [{"role": "nobody", "content": "x"}, {"role": "assistant", "content": "y"}]}'
    rows[9] = b'{"messages": "none"}'

    job = work(job_over(store, b"\n".join(rows)))

    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("invalid_training_file", "training_file")
    assert job.error["message"].startswith("The job failed due to an invalid training file. ")
    problems = job.error["problems"]
    assert [(problem["line"], problem["field"]) for problem in problems] == [
        (5, "messages[0].role"),
        (10, "messages"),
    ]
    assert all(problem["remedy"] for problem in problems)
    assert "line 5" in job.error["message"] and "line 10" in job.error["message"]
    assert log_of(store, job)[-1] == job.error["message"]
    assert job.finished_at is not None and job.fine_tuned_model is None


def test_the_first_hundred_problems_are_listed_and_all_are_counted(store: Store, work: Work) -> None:
    job = work(job_over(store, training_rows(20) + bad_rows(150)))

    assert job.error is not None
    assert len(job.error["problems"]) == 100
    assert "150 blocking problems" in job.error["message"]
    assert "... and 50 more." in job.error["message"]


def test_too_few_examples_have_openais_code(store: Store, work: Work) -> None:
    job = work(job_over(store, training_rows(3)))

    assert job.error is not None
    assert job.error["code"] == "invalid_n_examples"
    assert job.error["message"].startswith(
        "Training file has 3 example(s), but must have at least 10 examples"
    )


def test_a_bad_validation_file_is_named_as_such(store: Store, work: Work) -> None:
    job = work(job_over(store, training_rows(20), bad_rows(2)))

    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("invalid_validation_file", "validation_file")
    assert job.error["message"].startswith("The job failed due to an invalid validation file. ")


def test_advice_is_one_warning(store: Store, at: At, work: Work) -> None:
    rows = training_rows(20)
    job = job_over(store, rows + rows)
    at("before_validated", lambda: store.jobs.pause(TENANT, job.id))
    work(job)

    warnings = [
        event for event in store.jobs.events(TENANT, job.id, limit=100).items if event.level == "warn"
    ]
    assert len(warnings) == 1
    assert job.training_file in warnings[0].message
    assert warnings[0].data["problems"]


def test_the_validation_file_may_be_read_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys, tailor.jobs.worker, tailor.jobs; print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"import json; {code}"], capture_output=True, check=True)
    assert json.loads(done.stdout) is False
