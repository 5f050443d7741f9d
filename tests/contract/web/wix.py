"""A client of Wix's API, which sends what the SDK sends."""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from httpx2 import Response

from tests.contract.web.site import Site
from worker.domain.api_keys import Scope

R: Final = "/v1/back-in-stock-notification-requests"
STORES: Final = "215238eb-22a5-4c36-9e7b-e7c08025e04e"
STORES_V3: Final = "1380b703-ce81-ff05-f115-39571d94dfcd"
NOBODY: Final = "00000000-0000-4000-8000-000000000000"
MUG: Final[Mapping[str, Any]] = {"catalogItemId": "mug-1", "appId": STORES}
DETAILS: Final[Mapping[str, Any]] = {"name": "Blue mug", "price": "12.50"}


def packed(payload: object) -> str:
    """Returns a payload as the SDK puts it into `.r`."""
    return base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")


class Wix:
    """A caller with one key."""

    def __init__(self, site: Site, scope: Scope = Scope.ADMIN) -> None:
        self.site = site
        self.headers = site.headers(scope)

    def call(self, method: str, path: str = "", body: object = None, **options: Any) -> Response:
        """Calls a path below R."""
        given: dict[str, Any] = {} if body is None else {"json": body}
        return self.site.client.request(method, R + path, headers=self.headers, **given, **options)

    def create(self, email: str = "jane@example.com", reference: Mapping[str, Any] = MUG, **more: Any) -> Response:
        """Signs up. `more` goes into the request."""
        request = {"email": email, "catalogReference": reference, **more}
        return self.call("POST", body={"request": request, "itemDetails": DETAILS})

    def created(self, email: str = "jane@example.com", reference: Mapping[str, Any] = MUG, **more: Any) -> str:
        """Signs up, and returns the id."""
        return str(self.create(email, reference, **more).json()["request"]["id"])

    def query(self, **query: Any) -> Any:
        """Queries as the SDK does, and returns the reply."""
        reply = self.call("GET", f"?.r={packed({'query': query})}")
        assert reply.status_code == 200, reply.text
        return reply.json()

    def emails(self, **query: Any) -> list[str]:
        """Queries, and returns the addresses in order."""
        return [request["email"] for request in self.query(**query)["requests"]]

    def counts(self, *references: Mapping[str, Any]) -> list[int]:
        """Counts by references."""
        reply = self.call("GET", f"/count-by-catalog-reference?.r={packed({'catalogReferences': references})}")
        return [each["count"] for each in reply.json()["countsPerCatalogReference"]]


def code_of(reply: Response) -> tuple[int, str]:
    """Returns the status and the code of an application error."""
    return reply.status_code, reply.json()["details"]["applicationError"]["code"]


def violations_of(reply: Response) -> dict[str, str]:
    """Returns the violated rule of each field."""
    assert reply.status_code == 400, reply.text
    found = reply.json()["details"]["validationError"]["fieldViolations"]
    return {each["field"]: each.get("ruleName", each["violatedRule"]) for each in found}
