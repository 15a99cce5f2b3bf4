"""The durable queue's other end: the supervisor, and the workers that turn a job into a version.

Light to import: torch comes only with a training worker.
"""

from tailor.jobs.canaries import check_canaries
from tailor.jobs.graders import check_grader, check_method, python_sources
from tailor.jobs.options import JobOptions
from tailor.jobs.settings import WorkerSettings, physical_cores
from tailor.jobs.supervisor import Supervisor

__all__ = [
    "JobOptions",
    "Supervisor",
    "WorkerSettings",
    "check_canaries",
    "check_grader",
    "check_method",
    "physical_cores",
    "python_sources",
]
