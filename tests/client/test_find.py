"""Where the environment says the server is."""

from __future__ import annotations

import pytest

from tailor.client import Address, find
from tailor.errors import InvalidRequest


def test_our_own_variables_come_first() -> None:
    environment = {
        "TAILOR_BASE_URL": "http://here:8000/v1",
        "TAILOR_API_KEY": "ours",
        "OPENAI_BASE_URL": "http://there/v1",
        "OPENAI_API_KEY": "theirs",
    }
    assert find(environment) == Address(
        base_url="http://here:8000/v1", api_key="ours", variable="TAILOR_BASE_URL"
    )


def test_openais_variables_serve_when_they_point_elsewhere() -> None:
    found = find({"OPENAI_BASE_URL": "http://there:1/v1", "OPENAI_API_KEY": "theirs"})
    assert found is not None
    assert (found.base_url, found.api_key) == ("http://there:1/v1", "theirs")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OPENAI_API_KEY": "sk-real"},
        {"OPENAI_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": "sk-real"},
        {"TAILOR_BASE_URL": "", "TAILOR_API_KEY": "ours"},
    ],
)
def test_openai_itself_is_never_found(environment: dict[str, str]) -> None:
    assert find(environment) is None


def test_openais_key_never_goes_to_a_server_of_ours() -> None:
    with pytest.raises(InvalidRequest, match="TAILOR_API_KEY"):
        try:
            find({"TAILOR_BASE_URL": "http://here:8000/v1", "OPENAI_API_KEY": "sk-real"})
        except InvalidRequest as error:
            raise InvalidRequest(error.sentence) from error


def test_the_version_may_be_left_out_of_an_address() -> None:
    found = find({"TAILOR_BASE_URL": "http://here:8000/", "TAILOR_API_KEY": "ours"})
    assert found is not None
    assert found.base_url == "http://here:8000/v1"


@pytest.mark.parametrize("address", ["here:8000", "ftp://here/v1", "http://"])
def test_what_is_no_address_is_said_to_be_none(address: str) -> None:
    with pytest.raises(InvalidRequest, match="not an address"):
        find({"TAILOR_BASE_URL": address, "TAILOR_API_KEY": "ours"})
