"""Wix's Back In Stock Settings API: for which catalogs new requests are taken."""

from tests.contract.shop import Shop
from tests.contract.web.site import Site, site_over
from tests.contract.web.wix import MUG, NOBODY, STORES, STORES_V3, Wix, code_of, violations_of
from worker.domain.api_keys import Scope

OWN = "9a5d83fd-8570-482e-81ab-cfa88942ee60"


def states(wix: Wix) -> dict[str, bool]:
    reply = wix.call("PUT", "/settings", {})
    assert reply.status_code == 200
    return {each["appId"]: each["collectingRequests"] for each in reply.json()["settings"]["collectionStates"]}


def test_both_ids_of_wix_stores_are_one_switch(site: Site) -> None:
    for number, named in enumerate((STORES, STORES_V3, STORES.upper())):
        _check_switch(Wix(site), Wix(site, Scope.CREATE), named, f"customer{number}@example.com")


def _check_switch(wix: Wix, page: Wix, named: str, email: str) -> None:
    assert states(wix) == {STORES: True, STORES_V3: True}
    stopped = wix.call("POST", "/settings/stop-collecting", {"appId": named}).json()
    assert [each["collectingRequests"] for each in stopped["settings"]["collectionStates"]] == [False, False]
    for caller in (wix, page):
        assert code_of(caller.create()) == (428, "REQUEST_COLLECTION_DISABLED")
    wix.call("POST", "/settings/start-collecting", {"appId": named})
    assert states(wix) == {STORES: True, STORES_V3: True}
    assert wix.create(email).status_code == 200


def test_other_catalogs_are_switched_only_if_they_are_set(shop: Shop) -> None:
    with site_over(shop, catalogs=(OWN,)) as site:
        wix = Wix(site)
        wix.call("POST", "/settings/stop-collecting", {"appId": OWN})
        assert states(wix) == {STORES: True, STORES_V3: True, OWN: False}
        assert code_of(wix.create(reference={**MUG, "appId": OWN})) == (428, "REQUEST_COLLECTION_DISABLED")
        assert wix.create().status_code == 200
        unknown = wix.call("POST", "/settings/start-collecting", {"appId": NOBODY})
        assert code_of(unknown) == (428, "NOT_SUPPORTED_APP_DEF_ID")


def test_an_app_id_must_be_a_guid(site: Site) -> None:
    wix = Wix(site)
    assert violations_of(wix.call("POST", "/settings/start-collecting", {"appId": "stores"})) == {"appId": "GUID"}
    assert violations_of(wix.call("POST", "/settings/stop-collecting", {})) == {"appId": "REQUIRED_FIELD"}
