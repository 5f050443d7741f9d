"""Every call that the OpenAPI document allows, and many that it does not, get an answer that it declares."""

from typing import Any, Final

import hypothesis
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.web.site import Site

EXAMPLES: Final = 12
"""for each operation"""
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_no_call_ends_in_a_fault_or_in_an_undeclared_answer(site: Site) -> None:
    headers = site.headers()
    schema = schemathesis.openapi.from_asgi("/openapi.json", site.client.app)
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.seed(13)
        @hypothesis.settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy())
        def calls(case: Any) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        calls()


def test_the_page_for_people_loads_nothing_from_elsewhere_and_shows_every_path(site: Site) -> None:
    page = site.client.get("/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "//" not in page.text.replace("https://shop.example", "")
    for path in site.client.get("/openapi.json").json()["paths"]:
        assert path in page.text
