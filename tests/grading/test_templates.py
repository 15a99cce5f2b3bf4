"""Templates name values and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailor.grading import sample_of
from tailor.protocol.templates import (
    MissingVariable,
    RenderedTooLong,
    TemplateError,
    parse_template,
    render,
)

CALL = {"id": "c1", "type": "function", "function": {"name": "buy", "arguments": '{"symbols": ["A", "B"]}'}}
VALUES: dict[str, Any] = {
    "item": {
        "answer": "Rome",
        "n": 3,
        "x": 0.5,
        "yes": True,
        "none": None,
        "rows": [{"name": "a"}, {"name": "b"}],
        "two words": "spaced",
        "2024": "year",
        "messages": [{"role": "user", "content": "hi"}],
        "trick": "{{ item.answer }}",
    },
    "sample": sample_of('{"city": "Rome"}', tool_calls=[CALL]),
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{item.answer}}", "Rome"),
        ("{{  item.answer  }}!", "Rome!"),
        ("a {{ item.answer }} b {{ item.n }}", "a Rome b 3"),
        ("{{ item.x }} {{ item.yes }} {{ item.none }}", "0.5 true null"),
        ("{{ item.rows[1].name }}", "b"),
        ("{{ item.rows.1.name }}", "b"),
        ("{{ item.rows }}", '[{"name": "a"}, {"name": "b"}]'),
        ('{{ item["two words"] }}', "spaced"),
        ("{{ item['two words'] }}", "spaced"),
        ("{{ item.2024 }}", "year"),
        ("{{ item.messages[0].content }}", "hi"),
        ("{{ sample.output_text }}", '{"city": "Rome"}'),
        ("{{ sample.output_json.city }}", "Rome"),
        ("{{ sample.output_tools[0].function.name }}", "buy"),
        ("{{ sample.output_tools[0].function.arguments }}", '{"symbols": ["A", "B"]}'),
        ("{{ sample.output_tools[0].function.arguments.symbols[1] }}", "B"),
        ("{{ sample.choices[0].message.content }}", '{"city": "Rome"}'),
        ("{{ item.trick }}", "{{ item.answer }}"),
        ("{not} a } template }}", "{not} a } template }}"),
    ],
)
def test_a_path_stands_for_its_value(template: str, text: str) -> None:
    assert render(parse_template(template), VALUES) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ item.answer",
        "{{ }}",
        "{{ other.x }}",
        "{{ item.answer | upper }}",
        "{{ item.answer() }}",
        "{{ item.a + item.b }}",
        "{{ item..a }}",
        "{{ item[-1] }}",
        "{{ item['a }}",
        "{{ item.__class__.__mro__() }}",
        "{{ {{ item.a }} }}",
        "{{ 7*7 }}",
        "{{ items.a }}",
    ],
)
def test_anything_but_a_path_is_refused(template: str) -> None:
    with pytest.raises(TemplateError):
        parse_template(template)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ item.answr }}", "{{ item.answr }} is not there: item has answer, n, x, yes"),
        ("{{ item.rows[2].name }}", "{{ item.rows[2].name }} is not there: item.rows is a list of 2"),
        ("{{ item.answer.x }}", "item.answer is no object and no list"),
        ("{{ item.n.real }}", "item.n is no object"),
        ("{{ item.__class__ }}", "item has answer"),
        ("{{ sample.output_audio }}", "sample has output_text, output_tools, choices"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_stops(template: str, told: str) -> None:
    with pytest.raises(MissingVariable, match="is not there") as caught:
        render(parse_template(template), VALUES)
    assert told in str(caught.value)


def test_what_is_rendered_is_bounded() -> None:
    template = parse_template("{{ item.long }}" * 100)
    with pytest.raises(RenderedTooLong):
        render(template, {"item": {"long": "x" * 100_000}})


@given(st.text(max_size=200))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        parts = parse_template(text)
    except TemplateError:
        return
    if all(isinstance(part, str) for part in parts):
        assert "".join(map(str, parts)) == text
