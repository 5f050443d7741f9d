"""Wix's SDK in a page of a shop, so of another origin than ours: Chromium asks us first, for each kind of call."""

from typing import Any

import pytest

from tests.ports import free_port
from tests.web.conftest import Site
from worker.domain.api_keys import Scope


@pytest.fixture(scope="module")
def seen(in_pages: None, site: Site) -> Any:
    """What happened in the pages of pages.mjs: those of the shop, which the key is for, and one of a stranger."""
    port = free_port()
    return site.run("pages.mjs", key=site.key(Scope.CREATE, f"http://127.0.0.1:{port}"), shopPort=port)


def test_a_page_of_the_shop_signs_up_and_learns_nothing_about_others(seen: Any) -> None:
    made = seen["made"]["value"]
    assert (made["email"], made["status"]) == ("page@customer.example", "RECEIVED")
    assert seen["again"]["value"] == made
    assert not {"_id", "contactId", "_createdDate", "stockbell"} & set(made)


def test_a_page_reads_what_is_wrong(seen: Any) -> None:
    assert seen["wrong"]["fields"] == [["request.email", "EMAIL"]]
    assert seen["tooMuch"] == [413, "PAYLOAD_TOO_LARGE", True]


def test_a_page_of_another_origin_and_other_methods_are_refused_readably(seen: Any) -> None:
    for refused in (seen["elsewhere"], seen["query"]):
        assert refused["code"] == "PERMISSION_DENIED"
        assert refused["requestId"]


def test_the_sdk_runs_under_a_strict_policy_and_calls_us_only(seen: Any) -> None:
    assert seen["violations"] == []
    assert seen["foreign"] == []
    path = "/v1/back-in-stock-notification-requests"
    assert seen["asked"] == [*[f"POST {path}"] * 4, f"GET {path}", f"POST {path}"]
