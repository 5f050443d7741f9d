"""Wix's two services. `middleware` takes away the prefix that their paths may have."""

from collections.abc import Sequence

from fastapi import APIRouter

from worker.web import collecting, wix_create, wix_requests
from worker.web.access import Access
from worker.web.collecting import Collecting
from worker.web.context import Context


def routes(context: Context, access: Access) -> Sequence[APIRouter]:
    """Returns all routes, those first that are called most: each that stands before takes time."""
    state = Collecting(context)
    return (
        wix_create.routes(context, access, state),
        wix_requests.routes(context, access),
        collecting.routes(context, access, state),
    )
