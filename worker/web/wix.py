"""Wix's two services, at both of their prefixes."""

from fastapi import APIRouter

from worker.web import collecting, wix_create, wix_requests
from worker.web.access import Access
from worker.web.collecting import Collecting
from worker.web.context import Context
from worker.web.wix_requests import PREFIXES


def routes(context: Context, access: Access) -> APIRouter:
    """Returns all routes. Those with a prefix are the same, and OpenAPI has them once."""
    state = Collecting(context)
    every = APIRouter()
    for prefix in PREFIXES:
        for router in (
            wix_create.routes(context, access, state),
            collecting.routes(context, access, state),
            wix_requests.routes(context, access),
        ):
            every.include_router(router, prefix=prefix, include_in_schema=not prefix)
    return every
