"""`tailor chat MODEL`: talk to a model, or ask it once."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from tailor.cli.view import View
    from tailor.client import Endpoint


def chat(
    model: Annotated[str, typer.Argument(help="A base or a tuned model.", metavar="MODEL")],
    prompt: Annotated[
        str | None,
        typer.Argument(help="Ask once; without it, a conversation."),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="The system message.")
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="N", min=0.0, max=2.0, help="0: likeliest.")
    ] = 0.0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, help="Longest answer.")
    ] = 512,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Talk to a model, or ask it once with PROMPT or standard input."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.errors import InvalidRequest

    view = View.open(as_json=as_json)
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read().strip()
        if not prompt:
            raise InvalidRequest("There is nothing to ask.", remedy="Give a PROMPT, or pipe one in.")
    if prompt is None and as_json:
        raise InvalidRequest("--json needs something to ask.", remedy="Give a PROMPT, or pipe one in.")
    opening = [{"role": "system", "content": system}] if system else []
    settings = {"temperature": temperature, "max_completion_tokens": max_tokens}
    with connect(view, home) as connection:
        if prompt is None:
            _converse(view, connection.endpoint, model, opening, settings)
            return
        messages = [*opening, {"role": "user", "content": prompt}]
        if as_json:
            _answer_once(view, connection.endpoint, model, messages, settings)
        else:
            _say_answer(view, connection.endpoint, model, messages, settings)


def _answer_once(
    view: View, endpoint: Endpoint, model: str, messages: list[dict[str, str]], settings: dict[str, Any]
) -> None:
    from dataclasses import asdict

    answer = endpoint.chat(model, messages, **settings)
    view.emit({"model": model, **asdict(answer)})


def _say_answer(
    view: View, endpoint: Endpoint, model: str, messages: list[dict[str, str]], settings: dict[str, Any]
) -> str:
    """Print an answer as it comes; the whole of it is returned."""
    from tailor.cli.figures import printable

    said = []
    for piece in endpoint.stream(model, messages, **settings):
        said.append(piece)
        view.people.print(printable(piece), end="", markup=False, highlight=False, soft_wrap=True)
    view.say()
    return "".join(said)


def _converse(
    view: View, endpoint: Endpoint, model: str, opening: list[dict[str, str]], settings: dict[str, Any]
) -> None:
    from tailor.errors import TailorError

    with suppress(ImportError):  # not on every system; with it the arrow keys edit and recall lines
        import readline  # noqa: F401
    endpoint.model(model)  # a wrong name is said now, not after the first question
    view.note(f"{model}. /new starts over, /quit or Ctrl-D ends.")
    messages = list(opening)
    while (asked := _next_line(view)) is not None:
        if asked == "/new":
            messages = list(opening)
            continue
        messages.append({"role": "user", "content": asked})
        try:
            answer = _say_answer(view, endpoint, model, messages, settings)
        except TailorError as error:
            view.say(error.sentence, style="red")
            messages.pop()
            continue
        except KeyboardInterrupt:
            # Ctrl-C ends the answer, not the conversation.
            view.say()
            messages.pop()
            continue
        messages.append({"role": "assistant", "content": answer})


def _next_line(view: View) -> str | None:
    """What the user types next, empty lines passed over; None at the end."""
    while True:
        try:
            line = view.people.input("[bold cyan]> [/]").strip()
        except EOFError:
            view.say()
            return None
        if line == "/quit":
            return None
        if line:
            return line
