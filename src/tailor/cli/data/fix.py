"""`tailor data fix FILE -o OUT`: mend what was chosen to be mended, with a log of every change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailor.cli.options import Json
from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from tailor.cli.view import View
    from tailor.data.fixing import Choices, Fixed
    from tailor.data.rows import Source

_ROWS = "Rows that are left out"
_TEXT = "Texts that are changed"
_SHARES = "Classes and parts"

File = Annotated[Path, typer.Argument(metavar="FILE", help="What to mend; it is never written to.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT.jsonl", help="The file to write.")]
Log = Annotated[
    Path | None, typer.Option("--log", metavar="FILE", help="Every change. (default: OUT.jsonl.log.jsonl)")
]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT, its log and its validation file.")]
DropInvalid = Annotated[
    bool, typer.Option("--drop-invalid", help="Those that could not be trained on.", rich_help_panel=_ROWS)
]
DropDuplicates = Annotated[
    bool, typer.Option("--drop-duplicates", help="All but the first of equal ones.", rich_help_panel=_ROWS)
]
Near = Annotated[
    str | None,
    typer.Option(
        "--near-duplicates",
        metavar="keep-one",
        help="All but the first of those that ask nearly the same and are answered alike.",
        rich_help_panel=_ROWS,
    ),
]
Similarity = Annotated[
    float,
    typer.Option(
        "--similarity", metavar="SHARE", help="What counts as nearly the same.", rich_help_panel=_ROWS
    ),
]
Settle = Annotated[
    str | None,
    typer.Option(
        "--contradictions",
        metavar="CHOICE",
        help="Of one question's different answers: keep-first, keep-majority or drop.",
        rich_help_panel=_ROWS,
    ),
]
Normalise = Annotated[
    bool,
    typer.Option(
        "--normalise",
        help="One spelling for one answer: case, spaces, prefixes, JSON.",
        rich_help_panel=_TEXT,
    ),
]
Redact = Annotated[
    list[str] | None,
    typer.Option(
        "--redact",
        metavar="KIND",
        help="Personal data: all, or email, phone, card, iban, name, secret ... (repeat).",
        rich_help_panel=_TEXT,
    ),
]
Truncate = Annotated[
    int | None,
    typer.Option(
        "--truncate",
        metavar="N",
        help="Shorten longer examples; answers are never cut.",
        rich_help_panel=_TEXT,
    ),
]
SplitLong = Annotated[
    int | None,
    typer.Option(
        "--split-long", metavar="N", help="Divide longer conversations and texts.", rich_help_panel=_TEXT
    ),
]
Tokenizer = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        metavar="PATH",
        help="Count N in tokens of this tokenizer.json or model. (default: characters)",
        rich_help_panel=_TEXT,
    ),
]
BalanceOption = Annotated[
    str | None,
    typer.Option(
        "--balance",
        metavar="CHOICE",
        help="cap or upsample every class to the smallest or largest; cap=N, upsample=N.",
        rich_help_panel=_SHARES,
    ),
]
SplitShare = Annotated[
    float | None,
    typer.Option(
        "--split",
        metavar="SHARE",
        help="Hold a share out for validation: of every class, near copies kept together.",
        rich_help_panel=_SHARES,
    ),
]
Validation = Annotated[
    Path | None,
    typer.Option(
        "--validation",
        metavar="FILE",
        help="Where to. (default: OUT.validation.jsonl)",
        rich_help_panel=_SHARES,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of the split and the cap.", rich_help_panel=_SHARES)]


def fix(
    file: File,
    out: Out,
    drop_invalid: DropInvalid = False,
    drop_duplicates: DropDuplicates = False,
    near_duplicates: Near = None,
    similarity: Similarity = 0.8,
    contradictions: Settle = None,
    normalise: Normalise = False,
    redact: Redact = None,
    truncate: Truncate = None,
    split_long: SplitLong = None,
    tokenizer: Tokenizer = None,
    balance: BalanceOption = None,
    split: SplitShare = None,
    validation: Validation = None,
    seed: Seed = 0,
    log: Log = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Mend a training file by explicit choices, with a log of every change. Needs no server.

    Writes a new file and never touches the old one. The steps are repeated until none finds anything to
    do, so mending the result again changes nothing. Lines that cannot be read are always left out.
    """
    from tailor.cli.data.writing import refuse_overwriting
    from tailor.cli.view import View
    from tailor.data.fixing import Choices, Tokens
    from tailor.data.fixing.provenance import log_beside, validation_of
    from tailor.data.rows import open_source

    view = View.open(as_json=as_json)
    held = (validation or out.with_name(f"{out.stem}.validation.jsonl")) if split is not None else None
    log = log or log_beside(out)
    for path in (out, log, *([held] if held else [])):
        refuse_overwriting(path, [file], force=force)
    if held is not None and (earlier := validation_of(file)) is not None:
        view.note(
            f"{file.name} was divided before: its validation part is {earlier}, so --split is passed over."
        )
        split = held = None
    choices = Choices(
        normalise=normalise,
        redact=_kinds(redact),
        truncate=truncate,
        split_long=split_long,
        drop_invalid=drop_invalid,
        drop_duplicates=drop_duplicates,
        near_duplicates=_wants_near(near_duplicates),
        contradictions=_settled(contradictions),
        balance=_balance(balance),
        split=split,
        similarity=similarity,
        seed=seed,
        **({"measure": Tokens(tokenizer)} if tokenizer is not None else {}),
    )
    if choices == Choices(similarity=similarity, seed=seed, measure=choices.measure):
        view.note("Nothing was chosen to be mended; tailor data fix --help lists the choices.")
    source = open_source(file)
    done = _run(view, source, choices, out=out, log=log, validation=held)
    _show(view, done, source, out=out, log=log, validation=held)
    view.emit(_as_json(done, source, choices, out=out, log=log, validation=held))


def _run(
    view: View, source: Source, choices: Choices, *, out: Path, log: Path, validation: Path | None
) -> Fixed:
    from contextlib import ExitStack

    from rich.status import Status

    from tailor.cli.data.writing import written
    from tailor.data.fixing import Fixed
    from tailor.data.fixing import fix as mend
    from tailor.data.fixing.provenance import sign

    with ExitStack() as stack:
        streams = [stack.enter_context(written(path)) for path in (out, log)]
        held = stack.enter_context(written(validation)) if validation is not None else None
        status = Status("reading", console=view.people)
        if view.people.is_terminal:
            stack.enter_context(status)
        done: Fixed | None = None
        for event in mend(source, choices, out=streams[0], log=streams[1], validation=held):
            if isinstance(event, Fixed):
                done = event
            else:
                status.update(f"{event.name.replace('_', ' ')}: {event.num_rows:,} rows")
        if done is None:
            raise InvalidRequest(f"{source.name} could not be mended.")
        sign(streams[1], choices, done, out=out, validation=validation)
    return done


def _show(view: View, done: Fixed, source: Source, *, out: Path, log: Path, validation: Path | None) -> None:
    from tailor.cli.figures import count

    view.say(f"{source.name}: {count(done.num_read, 'row')} of form {source.form.value}")
    for change, number in done.counts.items():
        step, _, action = change.partition(" ")
        view.say(f"  {number:>7,} {action:<8} {step.replace('_', ' ')}")
    if not done.counts:
        view.say("  nothing to mend", style="dim")
    view.say(f"✓ {count(done.num_rows, 'row')} written to {out}", style="green")
    if validation is not None:
        view.say(f"✓ {count(done.num_held_out, 'row')} held out in {validation}", style="green")
    view.say(f"  every change: {log}")
    more = f" --validation {validation}" if validation is not None else ""
    view.say(f"Next: tailor data check {out}{more}", style="dim")


def _as_json(
    done: Fixed, source: Source, choices: Choices, *, out: Path, log: Path, validation: Path | None
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "file": source.name,
        "form": source.form.value,
        "out": str(out),
        "log": str(log),
        "validation": str(validation) if validation is not None else None,
        "choices": choices.to_dict(),
        **asdict(done),
    }


def _kinds(given: list[str] | None) -> frozenset[str]:
    from tailor.data.doctor.personal import NOUNS

    known = list(map(str, NOUNS))
    asked = [kind for part in given or () for kind in part.split(",")]
    unknown = [kind for kind in asked if kind not in ("all", *known)]
    if unknown:
        raise InvalidRequest(
            f"There is no kind {unknown[0][:40]!r} of personal data.",
            remedy=f"Say all, or {', '.join(known)}.",
        )
    return frozenset(known if "all" in asked else asked)


def _wants_near(given: str | None) -> bool:
    if given not in (None, "keep-one"):
        raise InvalidRequest("Of near duplicates one is kept.", remedy="Say --near-duplicates keep-one.")
    return given is not None


def _settled(given: str | None) -> Any:
    from tailor.data.fixing import Contradictions

    if given is None:
        return None
    if given not in {choice.value for choice in Contradictions}:
        raise InvalidRequest(
            f"There is no choice {given[:40]!r} for contradictions.",
            remedy=f"Say {', '.join(choice.value for choice in Contradictions)}.",
        )
    return Contradictions(given)


def _balance(given: str | None) -> Any:
    from tailor.data.fixing import Balance

    if given is None:
        return None
    how, equals, number = given.partition("=")
    if equals and not number.isdecimal():
        raise InvalidRequest(f"{number[:20]!r} is not a number of rows.", remedy="Write --balance cap=200.")
    return Balance(how=how, num_rows=int(number) if equals else None)
