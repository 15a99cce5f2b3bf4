from __future__ import annotations

from typing import Any

import pytest

from tailor.errors import InvalidRequest
from tailor.models import Template, embedded_directory, load_template

PLAIN_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Reasoning models rewrite earlier turns: here only the last answer keeps its (empty) thoughts.
REASONING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The mark ends before the end-of-turn token, as in several published templates.
EARLY_MARK = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CHATS: list[list[dict[str, Any]]] = [
    [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "  What is\n\nit? "},
        {"role": "assistant", "content": "A tree."},
        {"role": "user", "content": "And that?\n"},
        {"role": "assistant", "content": " \nA stone, 42 years old.\n"},
    ],
    [{"role": "user", "content": ""}, {"role": "assistant", "content": "Caf\u00e9 \U0001f600"}],
    [
        {"role": "developer", "content": "Use tools."},
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "no"},
        {"role": "assistant", "content": "No rain."},
    ],
]


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template(embedded_directory())


def _answers(template: Template, messages: list[dict[str, Any]], **options: Any) -> list[str]:
    rendered = template.render(messages, **options)
    return [template.tokenizer.decode(rendered.ids[a.begin : a.end]) for a in rendered.answers]


@pytest.mark.parametrize("source", [None, PLAIN_CHATML, REASONING, EARLY_MARK])
@pytest.mark.parametrize("messages", CHATS)
def test_a_served_prompt_is_a_prefix_of_what_training_saw(
    template: Template, source: str | None, messages: list[dict[str, Any]]
) -> None:
    template = Template(template.tokenizer, source) if source else template
    for k, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = template.render(messages[:k], TOOLS, add_generation_prompt=True)
            through = template.render(messages[: k + 1], TOOLS)
            assert through.ids[: len(prompt.ids)] == prompt.ids
            assert through.answers[-1].begin == len(prompt.ids)
            assert not any(prompt.weights[through.answers[-1].begin :])


@pytest.mark.parametrize("messages", CHATS[:2])
def test_plain_chats_have_the_ids_the_base_was_trained_on(
    template: Template, messages: list[dict[str, Any]]
) -> None:
    wanted = template.tokenizer.apply_chat_template(
        messages, chat_template=PLAIN_CHATML, tokenize=True, return_dict=False
    )
    assert template.render(messages[:4]).ids == template.tokenizer.apply_chat_template(
        messages[:4], chat_template=PLAIN_CHATML, tokenize=True, return_dict=False
    )
    if messages is CHATS[1]:
        assert template.render(messages).ids == wanted


def test_answers_are_learnt_through_their_end_of_turn(template: Template) -> None:
    for source in (template.source, PLAIN_CHATML, EARLY_MARK):
        answers = _answers(Template(template.tokenizer, source), CHATS[0])
        assert answers == ["A tree.<|im_end|>", " \nA stone, 42 years old.\n<|im_end|>"]


def test_rewritten_earlier_turns_are_still_found(template: Template) -> None:
    answers = _answers(Template(template.tokenizer, REASONING), CHATS[0][:4] + CHATS[1][1:])
    assert answers == ["A tree.<|im_end|>", "<think>\n\n</think>\n\nCaf\u00e9 \U0001f600<|im_end|>"]


def test_weight_zero_is_not_learnt(template: Template) -> None:
    messages = [*CHATS[0][:2], CHATS[0][2] | {"weight": 0}, CHATS[0][3], CHATS[0][4] | {"weight": 1}]
    rendered = template.render(messages)
    first, second = rendered.answers
    assert (first.weight, second.weight) == (0.0, 1.0)
    assert sum(rendered.weights) == second.end - second.begin
    assert all(rendered.weights[second.begin : second.end])


def test_tool_calls_are_answers_and_tools_stand_in_the_system_turn(template: Template) -> None:
    rendered = template.render(CHATS[2], TOOLS)
    assert _answers(template, CHATS[2])[0] == (
        '<tool_call>{"name": "weather", "arguments": {"city": "Ulm"}}</tool_call><|im_end|>'
    )
    assert rendered.text.startswith("<|im_start|>system\nUse tools.\n\n# Tools")
    assert '"parameters": {"type": "object"}' in rendered.text.split("<|im_end|>")[0]
    without_system = template.render(CHATS[2][1:2], TOOLS).text
    assert without_system.startswith("<|im_start|>system\n# Tools")


def test_legacy_function_calls_render_like_tool_calls(template: Template) -> None:
    legacy: list[dict[str, Any]] = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "function_call": CALL["function"]},
        {"role": "function", "name": "weather", "content": "no"},
        {"role": "assistant", "content": "No."},
    ]
    modern: list[dict[str, Any]] = [
        legacy[0],
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "no"},
        legacy[3],
    ]
    assert template.render(legacy).ids == template.render(modern).ids


def test_a_template_without_recognisable_answers_is_refused_with_a_remedy(template: Template) -> None:
    backwards = Template(
        template.tokenizer, "{% for m in messages | reverse %}{{ m['content'] }};{% endfor %}"
    )
    with pytest.raises(InvalidRequest) as caught:
        backwards.render(CHATS[0])
    assert "generation" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for i in range(90000) %}{{ 'x' * 100 }}{% endfor %}", "2 MiB"),
        ("{% for i in range(99999999) %}{% endfor %}", "does not take"),
        ("{{ messages.__class__.__mro__ }}", "does not take"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[7].content.upper() }}", "does not take"),
    ],
)
def test_templates_run_in_bounds(template: Template, source: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Template(template.tokenizer, source).render(CHATS[0])


def test_a_template_that_asks_for_the_date_always_gets_the_same_one(template: Template) -> None:
    dated = Template(template.tokenizer, "{{ strftime_now('%d %b %Y') }}")
    assert dated.render([]).text == "26 Jul 2024"
