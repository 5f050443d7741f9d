"""All shop systems: verifies a call and reads it."""

from collections.abc import Mapping
from typing import Final

from worker.domain.errors import Forged
from worker.shops.calls import Call, Said, Setup, System
from worker.shops.magento import Magento
from worker.shops.shopify import Shopify
from worker.shops.wix import Wix
from worker.shops.woocommerce import WooCommerce

_SYSTEMS: Final[Mapping[str, System]] = {
    "woocommerce": WooCommerce(),
    "shopify": Shopify(),
    "magento": Magento(),
    "wix": Wix(),
}


def read(call: Call, setup: Setup) -> Said:
    """Verifies a call, and only then reads it. Raises Forged and BadWebhook."""
    if not setup.secret:  # everybody can sign with nothing
        raise Forged("the hook has no secret: make a new one")
    system = _SYSTEMS[setup.kind]
    system.verify(call, setup)
    return system.read(call, setup)
