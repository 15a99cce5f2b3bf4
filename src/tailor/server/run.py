"""A server as a process (`serve`), or beside its caller in one (`EmbeddedServer`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from tailor import __version__
from tailor.errors import Unavailable
from tailor.evals.runs import Means
from tailor.jobs import Supervisor, WorkerSettings, physical_cores
from tailor.jobs.eval_runner import EvalRunner
from tailor.sandbox import SharedSandbox
from tailor.server.answering import Answering
from tailor.server.app import create_app
from tailor.server.asking import Asking
from tailor.server.bases import add_first_base, renew_embedded_base
from tailor.server.calls import Services
from tailor.server.config import ServerConfig
from tailor.server.device import require_device
from tailor.server.embedding import Embedding
from tailor.server.engine import BackgroundEngine, local_engine
from tailor.server.layers import Traffic
from tailor.server.sockets import EnvelopeProtocol, address_of, bind
from tailor.server.upstreams import open_gateway
from tailor.store import ServerLock, Store

if TYPE_CHECKING:
    from tailor.inference import Engine

log = logging.getLogger("tailor.server")

_CUT_SECONDS = 2.0
"""After the drain, streams get this long to write their error line."""

_SWEEP_SECONDS = 3600.0
_LOG_BYTES = 5 * 1024 * 1024


def serve(config: ServerConfig, *, announce: Callable[[str], None] = lambda base_url: None) -> None:
    """Serve until SIGTERM or Ctrl-C, then let what is in progress end, and return.

    `announce` is called once with the address, when it is known and the home is ours.

    Raises:
        InvalidRequest: the port is taken, or another server runs on the same home.
    """
    terminal = logging.StreamHandler()
    terminal.addFilter(lambda record: not getattr(record, "is_read", False))  # clients poll; the file has it
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=[terminal]
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # a dozen lines before ours, at the first start
    with Instance(config) as instance:
        instance.local_key()  # commands on this machine find it in the home
        log.info("tailor %s serves %s (home %s)", __version__, instance.base_url, config.home)
        announce(instance.base_url)
        asyncio.run(instance.run(on_signals=True))
    log.info("stopped")


class EmbeddedServer:
    """The same server in a thread of this process, on a free loopback port, as a context manager."""

    def __init__(self, home: Path, *, config: ServerConfig | None = None, run_jobs: bool = True) -> None:
        """`run_jobs=False` only queues jobs: nobody works on them.

        A job that is training when the context ends saves its state and goes back to the queue.
        """
        self._config = replace(config or ServerConfig(home=home), home=home, host="127.0.0.1", port=0)
        self._run_jobs = run_jobs
        self._stack = ExitStack()
        self.base_url = ""
        """Ends with `/v1`; known once entered."""
        self.api_key = ""
        """The key of the command line on this machine."""

    def __enter__(self) -> EmbeddedServer:
        with ExitStack() as stack:
            self.instance = stack.enter_context(
                Instance(self._config, run_jobs=self._run_jobs, keep_workers=False)
            )
            self.base_url = self.instance.base_url
            self.api_key = self.instance.local_key()
            thread = threading.Thread(target=self._serve, name="tailor-server", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(self.instance.stop)
            self.instance.wait_until_started()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _serve(self) -> None:
        asyncio.run(self.instance.run(on_signals=False))


class Instance:
    """Everything one server holds: socket, lock, store, engine, supervisor. A context manager."""

    def __init__(self, config: ServerConfig, *, run_jobs: bool = True, keep_workers: bool = True) -> None:
        """With `keep_workers` training goes on while no server runs; the next one finds it again."""
        self.config = config
        self.run_jobs = run_jobs
        self.keep_workers = keep_workers
        self.traffic = Traffic(max_requests=config.max_requests)
        self._stack = ExitStack()
        self._started = threading.Event()
        self._stop: Callable[[], None] = lambda: None

    def __enter__(self) -> Instance:
        require_device()
        with ExitStack() as stack:
            # Bound first: connections made while the rest comes up wait instead of failing.
            self.socket = stack.enter_context(bind(self.config))
            self.base_url = f"http://{address_of(self.socket)}/v1"
            self.store = Store.open(self.config.home)
            stack.callback(self.store.close)
            stack.enter_context(ServerLock.acquire(self.config.home, self.base_url))
            stack.enter_context(_logs_into(self.config.home / "logs" / "server.log"))
            self.store.keep_ballast()
            stack.enter_context(_sweeping(self.store))
            add_first_base(self.store)
            self.gateway = open_gateway(self.store)
            self.app = self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def local_key(self) -> str:
        """The key that commands on this machine use; only the home's owner can read it."""
        return self.store.keys.ensure_local(self.config.home / "local.key")

    def stop(self) -> None:
        """Let what is in progress end, then stop; from any thread."""
        self._stop()

    def wait_until_started(self) -> None:
        """Return once requests are answered."""
        if not self._started.wait(60):
            raise Unavailable("The server did not start within a minute.")

    async def run(self, *, on_signals: bool) -> None:
        """Serve until `stop`, or with `on_signals` SIGTERM or SIGINT; a second signal does not wait."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.call_soon_threadsafe(stopping.set)

        def signalled() -> None:
            if stopping.is_set():
                self.traffic.cut.set()
            stopping.set()

        self._stop = stop
        if on_signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, signalled)
        server = _Server(self.app)
        serving = asyncio.create_task(server.serve(sockets=[self.socket]))
        running = asyncio.create_task(self.runner.run()) if self.runner is not None else None
        self._started.set()
        await asyncio.wait(
            {serving, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        if running is not None:
            running.cancel()  # what is unfinished goes back to the queue
            await asyncio.wait({running})
        await self.traffic.drain(self.config.drain_seconds)
        await self.traffic.settle(_CUT_SECONDS)
        server.should_exit = True
        await serving
        await self.gateway.close()

    def _build(self, stack: ExitStack) -> ASGIApp:
        engine = BackgroundEngine(self._build_engine, stuck_seconds=self.config.stuck_seconds)
        stack.callback(engine.close)
        engine.start()
        answering = Answering(self.store, engine, answer_seconds=self.config.answer_seconds)
        asking = Asking(answering, self.gateway)
        sandbox = SharedSandbox()
        embedding = Embedding(asking, model=self.config.embedding_model)
        means = Means(
            store=self.store,
            complete=asking.complete,
            run_python=sandbox.run,
            embed_for=embedding.for_graders,
        )
        self.runner = EvalRunner(means) if self.run_jobs else None
        return create_app(
            Services(
                config=self.config,
                store=self.store,
                answering=answering,
                supervisor=self._start_supervisor(stack) if self.run_jobs else None,
                traffic=self.traffic,
                asking=asking,
                embedding=embedding,
                runner=self.runner,
                sandbox=sandbox,
            )
        )

    def _start_supervisor(self, stack: ExitStack) -> Supervisor:
        settings = WorkerSettings(
            organization=self.config.organization,
            num_threads=self.config.training_threads or physical_cores(),
            num_spare=self.config.spare_workers,
        )
        supervisor = Supervisor(self.store, settings)
        supervisor.start()
        stack.callback(supervisor.stop, terminate_workers=not self.keep_workers)
        return supervisor

    def _build_engine(self) -> Engine:
        renew_embedded_base(self.store)
        return local_engine(self.store)


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=EnvelopeProtocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=5,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@contextmanager
def _logs_into(path: Path) -> Iterator[None]:
    """Write our log and uvicorn's into a file as well, in bounded space."""
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    loggers = [logging.getLogger("tailor"), logging.getLogger("uvicorn")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


@contextmanager
def _sweeping(store: Store) -> Iterator[None]:
    """Sweep the store now and every hour, in a thread of its own."""
    ended = threading.Event()

    def sweep() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError, Unavailable):
                store.sweep()
            ended.wait(_SWEEP_SECONDS)

    thread = threading.Thread(target=sweep, name="tailor-sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
