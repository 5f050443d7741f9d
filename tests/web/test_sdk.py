"""Wix's SDK, unmodified, over https: every method, every error, and references that come back as they were given."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.web.conftest import Site
from worker.domain.api_keys import Scope

STORES: Final = "215238eb-22a5-4c36-9e7b-e7c08025e04e"
STORES_AS_SERVED: Final = "1380b703-ce81-ff05-f115-39571d94dfcd"


def codes(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns of each error its code, or the fields that are wrong with their rules."""
    return {name: each.get("code") or [tuple(field) for field in each["fields"]] for name, each in found.items()}


@pytest.fixture(scope="module")
def requests(site: Site) -> Any:
    """What became of the calls of requests.mjs."""
    return site.run("requests.mjs", readKey=site.key(Scope.READ))


def test_a_request_goes_through_its_life_by_the_sdk(requests: Any) -> None:
    made = requests["made"]
    assert {name: made[name] for name in ("email", "status", "itemUrl")} == {
        "email": "jane@customer.example",
        "status": "RECEIVED",
        "itemUrl": "https://shop.example/p/sdk-mug",
    }
    assert "autoNotified" not in made
    assert requests["isDate"]
    assert requests["got"] == made
    assert requests["readKeyGets"] == requests["marked"]
    marked = requests["marked"]
    assert (marked["_id"], marked["status"], marked["autoNotified"]) == (made["_id"], "NOTIFICATION_SENT", False)
    assert requests["markedAgain"] == marked
    assert requests["isAnother"], "the first one was resolved"
    assert requests["removed"] is None


def test_a_count_is_of_those_who_wait(requests: Any) -> None:
    assert [each["count"] for each in requests["counted"]] == [1, 0]
    assert [each["count"] for each in requests["countedAfter"]] == [0]
    assert requests["counted100"] == 100


def test_a_duplicate_is_told_with_the_id_of_the_first(requests: Any) -> None:
    assert requests["again"]["code"] == "BACK_IN_STOCK_NOTIFICATION_REQUEST_ALREADY_EXISTS"
    assert requests["again"]["data"] == {"requestId": requests["made"]["_id"]}


def test_each_error_of_requests_reaches_the_caller_as_documented(requests: Any) -> None:
    assert codes(requests["errors"]) == {
        "getNobody": "NOT_FOUND",
        "getNoId": [("_id", "GUID")],
        "removeNobody": "NOT_FOUND",
        "removeTwice": "NOT_FOUND",
        "markNobody": "BACK_IN_STOCK_NOTIFICATION_REQUEST_NOT_FOUND",
        "markNoId": [("_id", "GUID")],
        "createNothing": [
            ("itemDetails.name", "REQUIRED_FIELD"),
            ("itemDetails.price", "REQUIRED_FIELD"),
            ("request.catalogReference", "REQUIRED_FIELD"),
            ("request.email", "REQUIRED_FIELD"),
        ],
        "createWrong": [
            ("itemDetails.price", "DECIMAL_GTE"),
            ("request.catalogReference.appId", "REQUIRED_FIELD"),
            ("request.catalogReference.catalogItemId", "MAX_LENGTH"),
            ("request.email", "EMAIL"),
            ("request.itemUrl", "WEB_URL"),
        ],
        "createWrongOptions": "INVALID_CATALOG_REFERENCE_OPTIONS",
        "createWrongImage": "INVALID_ITEM_IMAGE_URL",
        "count101": [("catalogReferences", "MAX_SIZE")],
        "count0": [("catalogReferences", "REQUIRED_FIELD")],
        "noKey": "UNAUTHENTICATED",
        "unknownKey": "UNAUTHENTICATED",
        "readKeyCreates": "PERMISSION_DENIED",
        "readKeyRemoves": "PERMISSION_DENIED",
    }
    assert all(each["requestId"] for each in requests["errors"].values()), "the SDK shows our log's id"


def test_pictures_of_both_kinds_are_taken(requests: Any) -> None:
    assert {name: each["value"]["status"] for name, each in requests["images"].items()} == {
        "url": "RECEIVED",
        "wix": "RECEIVED",
    }


@pytest.fixture(scope="module", params=["site", "site_on_postgresql"])
def queries(request: pytest.FixtureRequest) -> Any:
    """What became of the calls of queries.mjs, on each database. Requests are named by their first letter."""
    return request.getfixturevalue(request.param).run("queries.mjs")


def test_pages_lead_to_all_forward_and_back(queries: Any) -> None:
    assert queries["pages"] == ["ed", "cb", "a", "cb", "ed"]
    assert queries["edges"] == [False, True, True, False]
    assert [queries["typed"], queries["typedNext"]] == ["ab", "cd"]


def test_each_filter_and_sort_finds_whom_it_says(queries: Any) -> None:
    expected = {
        "ascending": "abcde",
        "descending": "edcba",
        "status": "e",
        "notStatus": "abcd",
        "autoNotified": "e",
        "in": "ac",
        "greater": "de",
        "since": "bcde",
        "contact": "d",
        "or": "ae",
        "not": "cde",
        "noResult": "",
        "isAbsent": "abcd",
    }
    assert {name: queries[name] for name in expected} == expected
    assert queries["nothingAsked"]


def test_a_query_that_is_longer_than_a_url_may_be_is_posted(queries: Any) -> None:
    assert queries["longCalls"] == ["POST /v1/back-in-stock-notification-requests/query"]
    assert queries["long"] == "b"


def test_each_error_of_a_query_names_its_place(queries: Any) -> None:
    assert codes(queries["errors"]) == {
        "field": [("query.filter", "FORMAT")],
        "operator": [("query.filter", "FORMAT")],
        "sort": [("query.sort[0].fieldName", "FORMAT")],
        "limit": [("query.cursorPaging.limit", "OTHER")],
        "cursor": [("query.cursorPaging.cursor", "FORMAT")],
        "cursorOfAnotherFilter": [("query.cursorPaging.cursor", "OTHER")],
        "cursorOfAnotherSort": [("query.cursorPaging.cursor", "OTHER")],
        "builder": [("undefined.cursorPaging.limit", "OTHER")],  # the SDK's builder has no name for its argument
    }


@pytest.fixture(scope="module", params=["site", "site_on_postgresql"])
def references(request: pytest.FixtureRequest) -> Any:
    """What became of the calls of references.mjs, on each database."""
    return request.getfixturevalue(request.param).run("references.mjs")


def test_a_reference_comes_back_as_it_was_given(references: Any) -> None:
    """Nested options, numbers, free text, no options and empty ones, and both ids of Wix Stores."""
    for name, each in references["found"].items():
        assert each["answers"] == [each["given"]] * 4, name
        assert each["count"] == 1, name


def test_both_ids_of_wix_stores_mean_one_item(references: Any) -> None:
    found = references["underTheOtherId"]
    assert (found["catalogReference"]["appId"], found["count"]) == (STORES, 1)


def test_the_prefix_of_wixs_own_host_works_too(references: Any) -> None:
    assert references["prefixed"] == {"create": 200, "get": True, "query": 1, "settings": 2, "remove": [200, {}]}


def test_collecting_is_one_switch_under_both_ids_of_wix_stores(site: Site) -> None:
    found = site.run("settings.mjs", readKey=site.key(Scope.READ))
    on, off = (dict.fromkeys((STORES_AS_SERVED, STORES), state) for state in (True, False))
    assert [found[name] for name in ("atFirst", "stopped", "started", "after", "readKeyGets")] == [on, off, on, on, on]
    assert codes(found["whileStopped"]) == {"create": "REQUEST_COLLECTION_DISABLED"}
    assert found["created"] == "RECEIVED"
    assert codes(found["errors"]) == {
        "other": "NOT_SUPPORTED_APP_DEF_ID",
        "noId": [("appId", "GUID")],
        "noStop": [("appId", "GUID")],
        "readKeyStops": "PERMISSION_DENIED",
    }


def test_reports_and_events_tell_those_whom_they_name(site: Site) -> None:
    """The event says the options as text, and without the free text that was asked for."""
    program = site.program
    program.start("listen")
    program.start("work", "-c", "1")
    program.publish(catalogItemId="report-event", appId=STORES, options='{"Size":"42"}', inStock="true")
    found = site.run("reports.mjs", readKey=site.key(Scope.READ))
    told = ["NOTIFICATION_SENT", True]
    assert [found[name] for name in ("red", "byId", "byEvent")] == [told, told, told]
    assert found["blueWaits"] == "RECEIVED"
    assert found["report"] in ({}, None)
    assert found["errors"].pop("markTold") == {"value": True}, "it was told by a report"
    assert codes(found["errors"]) == {
        "both": "REQUEST_CONTAINS_BOTH_CATALOG_REFERENCE_AND_REQUEST_IDS",
        "neither": [("options.catalogReference", "REQUIRED_FIELD")],
        "noDetails": [("itemDetails.name", "REQUIRED_FIELD"), ("itemDetails.price", "REQUIRED_FIELD")],
        "noId": [("options.requestIds[0]", "GUID")],
        "tooMany": [("options.requestIds", "MAX_SIZE")],
        "image": "INVALID_ITEM_IMAGE_URL",
        "readKey": "PERMISSION_DENIED",
    }
