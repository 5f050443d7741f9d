"""The public keys of what we tell in Wix's form."""

from tests.contract.shop import Shop
from tests.contract.web.receiver import pem
from tests.contract.web.site import site_over
from worker.store import endpoints


def test_all_public_keys_are_shown_newest_first(shop: Shop) -> None:
    with site_over(shop) as site:
        assert site.client.get("/.well-known/jwks.json").json() == {"keys": []}
        ids = [shop.write(endpoints.add_key, pem()) for _ in range(2)]
        found = site.client.get("/.well-known/jwks.json").json()["keys"]
    assert [key["kid"] for key in found] == ids[::-1]
    assert all(set(key) == {"kid", "alg", "use", "kty", "n", "e"} for key in found)
