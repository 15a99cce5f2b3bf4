"""OpenAI's own tests of its official client, run against our server (contract section 8)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from tailor.server import EmbeddedServer, ServerConfig
from tailor.server.sockets import address_of, bind
from tests.openai_suite.proxy import Proxy

VERSION = "3.51.0"
SUITE = Path(__file__).parents[2] / ".cache" / f"openai-{VERSION}"
RESOURCES = "tests/api_resources"
FILES = (
    "test_files.py",
    "test_models.py",
    "fine_tuning/test_jobs.py",
    "fine_tuning/jobs/test_checkpoints.py",
    "fine_tuning/alpha/test_graders.py",
    "test_evals.py",
    "evals",
    "chat",
    "test_embeddings.py",
)
NUM_PASSED = 807
"""117 of files, 55 of models, 210 of fine_tuning, 260 of evals, 145 of chat, 20 of embeddings.

Fewer: some are gone.
"""
NUM_SKIPPED = 3
"""The suite itself skips what its mock of HTTP cannot do with aiohttp."""
LEFT_OUT = {
    "fine_tuning/checkpoints/test_permissions.py": "sharing checkpoints between projects is not built yet",
}


@pytest.fixture(scope="module")
def suite() -> Path:
    """The unpacked source distribution; `make test` downloads it."""
    if not SUITE.is_dir():
        message = f"{SUITE} is missing: `make test` downloads it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return SUITE


@pytest.fixture(scope="module")
def proxy_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the proxy, which runs in a thread of this process, before a server of its own.

    Of its own, because the suite lists files, and its types do not know all that other tests leave behind.
    """
    home = tmp_path_factory.mktemp("suite")
    with (
        EmbeddedServer(home, run_jobs=False) as server,
        bind(ServerConfig(home=home, port=0)) as listener,
    ):
        config = uvicorn.Config(Proxy(server), lifespan="off", log_config=None, access_log=False)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://{address_of(listener)}/v1"
        running.should_exit = True
        thread.join()


def test_the_official_clients_own_tests_pass(suite: Path, proxy_url: str) -> None:
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "2", "-W", "default"),
            *("-p", "no:cacheprovider", "-p", "no:logging", "-o", "addopts="),
            *(f"{RESOURCES}/{name}" for name in FILES),
        ],
        cwd=suite,
        env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "OPENAI"))}
        | {"TEST_API_BASE_URL": proxy_url, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    report = finished.stdout[-6000:] + finished.stderr[-2000:]
    assert finished.returncode == 0, report
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|skipped)", report)}
    assert counts == {"passed": NUM_PASSED, "skipped": NUM_SKIPPED}, report


def test_what_is_left_out_still_exists(suite: Path) -> None:
    """So that the list of what we leave out stays true."""
    everything = {
        path.relative_to(suite / RESOURCES).as_posix()
        for path in (suite / RESOURCES / "fine_tuning").rglob("test_*.py")
    }
    assert everything - set(FILES) == LEFT_OUT.keys()
