"""What a file would teach besides what was meant: one function per check, over all examples.

None of it stands in the way of training, and none of it is mended silently.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Final

from tailor.data.examples import Example
from tailor.data.problems import Problem, lines_in_words

Check = Callable[[Sequence[Example]], Iterator[Problem]]
"""A check looks at all examples of a file and yields advice."""

_SHORT_MESSAGE_CHARACTERS: Final = 10
_SHORT_ANSWER_CHARACTERS: Final = 50
_LABEL_CHARACTERS: Final = 40
_REFUSAL: Final = re.compile(
    r"\s*(?:(?:i'?m|i am) (?:very |really |so )?sorry,? (?:but|i)\b.{0,40}?\b(?:can'?t|cannot|can not|unable)"
    r"|(?:sorry|unfortunately),? (?:but )?i(?: can'?t| cannot| can not|(?:'m| am) (?:unable|not able))"
    r"|i (?:can'?t|cannot|can not|won'?t|will not) (?:help|assist|answer|comply|provide|do|discuss|create)"
    r"|i(?:'m| am) (?:unable|not able|not allowed) to"
    r"|as an? (?:ai|artificial|large language|language)\b)",
    re.IGNORECASE | re.DOTALL,
)
_EMAIL: Final = re.compile(r"@(?<=[\w+-]@)([\w-]{1,63}(?:\.[\w-]{1,63}){1,8})")
_DIGITS: Final = re.compile(r"(?<![\w.,])\+?\(?\d(?:[ ().-]{0,2}\d){7,18}(?![\w])")
_NOT_A_PHONE: Final = re.compile(r"\d{4}-\d\d-\d\d|\d\d?\.\d\d?\.\d{4}|\d{1,3}(?:\.\d{1,3}){3}$")
_RESERVED_DOMAIN: Final = re.compile(r"(?:^|\.)(?:example(?:\.\w+)?|test|invalid|localhost)$", re.IGNORECASE)


def answers_are_labels(examples: Sequence[Example]) -> bool:
    """Whether the answers look like classes: nearly all short, and nearly all given more than once."""
    answers = [text.strip().casefold() for _, text in _answers(examples)]
    if len(answers) < 2 or len(answers) < 0.95 * len(examples):
        return False
    times = Counter(answers)
    short = sum(len(answer) <= _LABEL_CHARACTERS for answer in answers)
    shared = sum(times[answer] > 1 for answer in answers)
    return short >= 0.95 * len(answers) and shared >= 0.8 * len(answers)


def find_short_messages(examples: Sequence[Example]) -> Iterator[Problem]:
    """User messages too short to ask anything, where most are longer."""
    lengths = [
        (example.line, index, len((message["content"] or "").strip()))
        for example in examples
        for index, message in enumerate(example.messages)
        if message["role"] == "user"
    ]
    if not lengths or median(length for _, _, length in lengths) < 2 * _SHORT_MESSAGE_CHARACTERS:
        return
    for line, index, length in lengths:
        if length < _SHORT_MESSAGE_CHARACTERS:
            said = f"the user message has {length} characters." if length else "the user message is empty."
            yield _advice(
                line, "short_message", said, "See that nothing is missing.", f"messages[{index}].content"
            )


def find_short_answers(examples: Sequence[Example]) -> Iterator[Problem]:
    """Answers much shorter than usual in this file. Where answers are labels, short is right."""
    answers = list(_answers(examples))
    if not answers or answers_are_labels(examples):
        return
    usual = median(len(text) for _, text in answers)
    if usual < 2 * _SHORT_ANSWER_CHARACTERS:
        return
    for example, text in answers:
        if len(text.strip()) < _SHORT_ANSWER_CHARACTERS:
            said = f"the answer has {len(text.strip())} characters where {usual:.0f} are usual here."
            yield _advice(example.line, "short_answer", said, "Give the whole answer.", _last(example))


def find_duplicates(examples: Sequence[Example]) -> Iterator[Problem]:
    """Examples that stand in the file more than once."""
    first: dict[str, int] = {}
    for example in examples:
        line = first.setdefault(example.fingerprint, example.line)
        if line != example.line:
            said = f"the example is the same as in line {line}."
            yield _advice(example.line, "duplicate", said, "Keep one; repeating it gives it more weight.")


def find_contradictions(examples: Sequence[Example]) -> Iterator[Problem]:
    """Equal prompts with different answers, each pair of prompts named once."""
    by_prompt: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_prompt[example.prompt_key()].append(example)
    for group in by_prompt.values():
        kinds = {example.fingerprint: example for example in reversed(group)}
        if len(kinds) > 1:
            lines = [example.line for example in group]
            said = f"{lines_in_words(lines)} ask the same and are answered differently."
            remedy = "Decide on one answer, or add what makes the difference to the prompts."
            yield _advice(lines[0], "contradiction", said, remedy)


def find_refusals(examples: Sequence[Example]) -> Iterator[Problem]:
    """Answers that decline to answer."""
    for example, text in _answers(examples):
        if _REFUSAL.match(text):
            said = "the answer is a refusal, and refusing would be learned."
            yield _advice(
                example.line, "refusal", said, "Remove the line unless refusing is wanted.", _last(example)
            )


def find_quirks(examples: Sequence[Example]) -> Iterator[Problem]:
    """Spaces around short answers, and spellings of one answer that differ in case or a final full stop."""
    answers = [(example, text) for example, text in _answers(examples) if len(text) <= _LABEL_CHARACTERS]
    for example, text in answers:
        if text != text.strip():
            said = f"the answer {text!a} has white space around it, which would be learned."
            yield _advice(example.line, "white_space", said, "Remove it.", _last(example))
    if not answers_are_labels(examples):
        return
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for _, text in answers:
        spellings[_plain(text)][text.strip()] += 1
    for example, text in answers:
        usual, _ = spellings[_plain(text)].most_common(1)[0]
        if text.strip() != usual:
            said = f"the answer is written {text.strip()!a} here and {usual!a} elsewhere."
            yield _advice(
                example.line, "mixed_spelling", said, "Write one answer in one way.", _last(example)
            )


def find_imbalance(examples: Sequence[Example]) -> Iterator[Problem]:
    """Classes with too few examples to be learned, and a class that drowns the others."""
    if not answers_are_labels(examples):
        return
    lines: dict[str, list[int]] = defaultdict(list)
    for example, text in _answers(examples):
        lines[text.strip()].append(example.line)
    total = sum(map(len, lines.values()))
    usual = median(map(len, lines.values()))
    for label, places in lines.items():
        if len(places) < 5 or (len(places) < 0.01 * total and len(places) < usual / 5):
            times = "once" if len(places) == 1 else f"{len(places)} times"
            said = (
                f"the answer {label[:40]!a} is given {times} in {total} examples ({lines_in_words(places)})."
            )
            yield _advice(
                places[0], "rare_class", said, "Add examples of it, or merge it with another class."
            )
        if len(lines) > 1 and len(places) > 0.9 * total:
            said = f"{len(places)} of {total} answers are {label[:40]!a}."
            yield _advice(None, "dominant_class", said, "Add examples of the other classes.")


def find_system_prompts(examples: Sequence[Example]) -> Iterator[Problem]:
    """System prompts that are empty, missing in some lines, or worded differently in a few."""
    prompts: dict[str | None, list[int]] = defaultdict(list)
    for example in examples:
        texts = [
            message["content"] or ""
            for message in example.messages
            if message["role"] in ("system", "developer")
        ]
        prompts["\n".join(texts) if texts else None].append(example.line)
    if "" in prompts:
        said = f"the system prompt is empty ({lines_in_words(prompts.pop(''))})."
        yield _advice(None, "empty_system_prompt", said, "Leave the message out, or say what is wanted.")
    if len(prompts) < 2:
        return
    if None in prompts:
        said = f"some examples have no system prompt ({lines_in_words(prompts.pop(None))}), others have one."
        yield _advice(None, "system_prompt_missing", said, "Train with the prompts that you will serve with.")
    usual = max(prompts.values(), key=len)
    others = sorted(line for lines in prompts.values() if lines is not usual for line in lines)
    if others and len(usual) > 9 * len(others):
        said = f"the system prompt differs from the usual one in {lines_in_words(others)}."
        yield _advice(
            None, "system_prompt_differs", said, "Use one system prompt, unless the difference is meant."
        )


def find_without_question(examples: Sequence[Example]) -> Iterator[Problem]:
    """Conversations in which nobody asks anything."""
    for example in examples:
        if all(message["role"] not in ("user", "tool") for message in example.messages):
            said = "the conversation has no user message."
            yield _advice(example.line, "no_user_message", said, "Add what the answer answers.")


def find_unoffered_tools(examples: Sequence[Example]) -> Iterator[Problem]:
    """Calls of tools that the line does not offer."""
    for example in examples:
        offered = {tool["function"]["name"] for tool in example.tools}
        for index, message in enumerate(example.messages):
            for place, call in enumerate(message.get("tool_calls", ())):
                name = call["function"]["name"]
                if name not in offered:
                    said = f"{name[:64]!a} is called but is not among the tools of this line."
                    field = f"messages[{index}].tool_calls[{place}].function.name"
                    yield _advice(
                        example.line, "tool_not_offered", said, "List the tools you will serve with.", field
                    )


def find_personal_data(examples: Sequence[Example]) -> Iterator[Problem]:
    """Addresses and numbers of people, which a tuned model may repeat: counted, not judged."""
    lines: dict[str, list[int]] = defaultdict(list)
    for example in examples:
        text = "\n".join(message["content"] or "" for message in example.messages)
        for kind in _personal_kinds(text):
            lines[kind].append(example.line)
    for kind, places in lines.items():
        holds = "example holds" if len(places) == 1 else "examples hold"
        said = f"{len(places)} {holds} {kind} ({lines_in_words(places)})."
        yield _advice(
            None, "personal_data", said, "Replace them by made-up ones unless the model must know them."
        )


CHECKS: Final[tuple[Check, ...]] = (
    find_duplicates,
    find_contradictions,
    find_refusals,
    find_quirks,
    find_imbalance,
    find_short_messages,
    find_short_answers,
    find_system_prompts,
    find_without_question,
    find_unoffered_tools,
    find_personal_data,
)
"""Every check that is made of a training file."""


def _answers(examples: Sequence[Example]) -> Iterator[tuple[Example, str]]:
    for example in examples:
        text = example.reference()["content"]
        if text is not None:
            yield example, text


def _plain(answer: str) -> str:
    return answer.strip().rstrip(".!").casefold()


def _last(example: Example) -> str:
    return f"messages[{len(example.messages) - 1}].content"


def _personal_kinds(text: str) -> Iterator[str]:
    if any(not _RESERVED_DOMAIN.search(found[1]) for found in _EMAIL.finditer(text)):
        yield "e-mail addresses"
    kinds: set[str] = set()
    for found in _DIGITS.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if 13 <= len(digits) <= 19 and _passes_luhn(digits):
            kinds.add("card numbers")
        elif len(digits) <= 15 and _looks_like_telephone(found[0], digits):
            kinds.add("telephone numbers")
    yield from sorted(kinds)


def _looks_like_telephone(written: str, digits: str) -> bool:
    """Telephone numbers are written in groups; plain digits are more often orders or invoices."""
    grouped = len(digits) >= 9 and written != digits and not _NOT_A_PHONE.match(written)
    return written.startswith("+") or grouped


def _passes_luhn(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    plain = [int(digit) for digit in digits[-1::-2]]
    return digits[0] in "3456" and sum(plain + [value - 9 * (value > 9) for value in doubled]) % 10 == 0


def _advice(line: int | None, code: str, message: str, remedy: str, field: str | None = None) -> Problem:
    return Problem(line=line, code=code, message=message, field=field, remedy=remedy, severity="advice")
