"""Every call that the OpenAPI document allows, and many that it does not, get an answer that it declares."""

from collections.abc import Mapping
from typing import Any, Final

import hypothesis
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.web.site import Site

EXAMPLES: Final = 6
"""for each operation"""
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_no_call_ends_in_a_fault_or_in_an_undeclared_answer(site: Site) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", site.client.app)
    operations: list[Any] = [*schema.get_all_operations()]
    problems = [_problem(each.ok(), site.headers()) for each in operations]
    assert [problem for problem in problems if problem] == []


def _problem(operation: Any, headers: Mapping[str, str]) -> str | None:
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

    try:
        calls()
    except FailureGroup as found:
        return f"{operation.label}: {found}"
    return None


def test_the_page_for_people_loads_nothing_from_elsewhere_and_shows_every_path(site: Site) -> None:
    page = site.client.get("/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "//" not in page.text.replace("https://shop.example", "")
    for path in site.client.get("/openapi.json").json()["paths"]:
        assert path in page.text
