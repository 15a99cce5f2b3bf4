"""A proxy between OpenAI's own client tests and our server; used by tests only.

Those tests expect a mock: they share a few made-up ids, delete the same object again and again, and
expect every job to be in whatever state suits the call. The proxy makes a real object of ours for each
such request, writes its id into the path or body, and passes the request on. Answers go back untouched,
so a pass says that everything our code really answers has the right type.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tailor.server import EmbeddedServer
from tests.server.making import add_job, add_run, finish_job, rows

TENANT = "default"
JOB = "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
MODEL = "ft:gpt-4o-mini:acemeco:suffix:abc123"
TRAINING_FILE = "file-abc123"

_DROPPED = frozenset({"host", "content-length", "authorization", "transfer-encoding", "connection"})
_NOT_OURS = frozenset({"content-length", "transfer-encoding", "connection", "content-encoding"})


class Proxy:
    """ASGI application in front of `server`."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.store = server.instance.store
        self.num_requests = 0
        self.http = httpx2.Client(
            base_url=server.base_url.removesuffix("/v1"), trust_env=False, timeout=120, follow_redirects=False
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        answer = await run_in_threadpool(self._forward, request, body)
        headers = {name: value for name, value in answer.headers.items() if name not in _NOT_OURS}
        await Response(answer.content, answer.status_code, headers)(scope, receive, send)

    def _forward(self, request: Request, body: bytes) -> httpx2.Response:
        self.num_requests += 1
        path = self._real_path(request.method, request.scope["path"])
        headers = {name: value for name, value in request.headers.items() if name not in _DROPPED}
        headers["authorization"] = f"Bearer {self.server.api_key}"
        if headers.get("content-type") == "application/json" and body:
            body = json.dumps(self._real_body(path, json.loads(body))).encode()
        query = request.scope["query_string"].decode()
        return self.http.request(
            request.method, path + (f"?{query}" if query else ""), content=body, headers=headers
        )

    def _real_path(self, method: str, path: str) -> str:
        """The path with every made-up id replaced by that of an object in the state the call needs."""
        makers: dict[str, Callable[[], str]] = {
            JOB: lambda: self._job(path.rsplit("/", 1)[1]),
            MODEL: lambda: str(finish_job(self.store, TENANT).fine_tuned_model),
            "file_id": self._file,
            "completion_id": self._completion,
        }
        for placeholder, make in makers.items():
            if placeholder in path.split("/"):
                return path.replace(placeholder, make())
        return self._eval_path(path) if "eval_id" in path.split("/") else path

    def _eval_path(self, path: str) -> str:
        """The path of an eval with a run that is going on, and one row of it graded."""
        eval_id, run_id, item_id = add_run(self.store, TENANT)
        real = {"eval_id": eval_id, "run_id": run_id, "output_item_id": item_id}
        return "/".join(real.get(part, part) for part in path.split("/"))

    def _real_body(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The body with real files, and with the few values that only a mock can take."""
        for name in ("training_file", "validation_file"):
            if body.get(name) == TRAINING_FILE:
                body[name] = self._file()
        for criterion in body.get("testing_criteria", ()):
            if criterion.get("model") == "model":
                criterion["model"] = "tailor-mini-2"
            for message in criterion.get("input", ()):
                if message.get("role") == "role":  # is none of the roles in the client's own types
                    message["role"] = "user"
        if path == "/v1/embeddings":
            body["model"] = "tailor-mini-2"  # nobody's name stands for a model that embeds
            body["encoding_format"] = "float"  # strict, the client refuses the base64 that it asks for
        if path == "/v1/chat/completions":
            for name in ("max_tokens", "max_completion_tokens"):
                if body.get(name) == 0:  # an answer of no tokens is none
                    body[name] = 1
            if "foo" in body.get("logit_bias", {}):  # is no token id
                body["logit_bias"] = {"0": body["logit_bias"]["foo"]}
        return body

    def _job(self, verb: str) -> str:
        if verb == "cancel":
            return add_job(self.store, TENANT).id
        if verb == "resume":
            return self.store.jobs.pause(TENANT, add_job(self.store, TENANT).id).id
        if verb == "pause":
            return self._running_job()
        return finish_job(self.store, TENANT).id

    def _running_job(self) -> str:
        """A running job goes on until its next save, so its answer is of a status that the client knows."""
        job = add_job(self.store, TENANT)
        lease = self.store.queue.claim("validate", "proxy", job_id=job.id)
        assert lease is not None
        lease.validated()
        lease = self.store.queue.claim("train", "proxy", job_id=job.id)
        assert lease is not None
        lease.close()
        return job.id

    def _file(self) -> str:
        return self.store.files.add(TENANT, data=rows(), filename="train.jsonl", purpose="fine-tune").id

    def _completion(self) -> str:
        """A stored completion; the client's type for its messages only knows those of the assistant."""
        body = {
            "model": "tailor-mini-2",
            "messages": [{"role": "assistant", "content": "Hello."}],
            "max_tokens": 1,
            "store": True,
        }
        key = {"authorization": f"Bearer {self.server.api_key}"}
        answer = self.http.post("/v1/chat/completions", json=body, headers=key)
        return str(answer.json()["id"])
