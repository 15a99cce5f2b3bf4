import pytest

from tailor.errors import InvalidRequest
from tailor.grading import equals, matches


def test_all_patterns_must_occur_whatever_their_case() -> None:
    assert matches("Your INVOICE number is 17.", ["invoice", "17"])
    assert not matches("Your invoice is late.", ["invoice", "17"])
    assert matches("STRASSE", ["straße"])


def test_patterns_are_text_and_not_regular_expressions() -> None:
    assert matches("costs 3.50 (net)", ["3.50 (net)"])
    assert not matches("costs 3x50", ["3.50"])


def test_no_patterns_at_all_is_a_mistake() -> None:
    with pytest.raises(InvalidRequest):
        matches("anything", [])


def test_white_space_around_an_answer_does_not_count() -> None:
    assert equals(" spam\n", "spam")
    assert not equals("Spam", "spam")
    assert not equals("spam mail", "spam")
