"""Providers' webhooks: bounces, complaints and unsubscriptions, at `/hooks/{provider}/{id}`.

200 means that what the call said is stored: until then providers repeat it, and what comes twice counts once.
"""

from datetime import UTC, datetime
from typing import Final

import structlog
from fastapi import APIRouter, Request

from worker.domain import reply_rules
from worker.domain.errors import BadWebhook, Forged
from worker.domain.providers import Provider
from worker.feedback.webhooks import MAX_BODY, Call, Decoded, receive, webhook_of
from worker.services.returning import Intake
from worker.store import hooks
from worker.store.hooks import Hook
from worker.web.context import Context
from worker.web.errors import ApiError
from worker.web.sns import Sns

_PROVIDERS: Final = frozenset(Provider)

log = structlog.get_logger()


def routes(context: Context) -> APIRouter:
    """Returns the routes. What proves a call is the provider's business. Raises BadSetting for bad reply rules."""
    router = APIRouter(include_in_schema=False)
    reply_rules.use(context.parts.reply_rules)
    desk = _Desk(context, Intake(context.database, context.parts.recognizer), Sns())

    @router.post("/hooks/{provider}/{hook_id}/", max_body_size=MAX_BODY)  # as some people paste it
    @router.post("/hooks/{provider}/{hook_id}", max_body_size=MAX_BODY)
    async def call(request: Request, provider: str, hook_id: str) -> dict[str, object]:
        hook = await context.read(hooks.find, hook_id) if provider in _PROVIDERS else None
        if hook is None or hook.kind != provider:
            raise ApiError(404, "NOT_FOUND", "there is no such hook, or it was revoked")
        return await desk.take(hook, Call(dict(request.headers), await request.body(), hook.id))

    return router


class _Desk:
    def __init__(self, context: Context, intake: Intake, sns: Sns) -> None:
        self._context = context
        self._intake = intake
        self._sns = sns

    async def take(self, hook: Hook, call: Call) -> dict[str, object]:
        """Verifies, reads and stores a call. Raises ApiError: 403 if it is forged, 400 if it can't be read."""
        run, sql = self._context.run, self._context.sql
        try:
            found = await run(self._received, hook, call)
        except (Forged, BadWebhook) as refused:
            status, code = (403, "PERMISSION_DENIED") if isinstance(refused, Forged) else (400, "INVALID_ARGUMENT")
            log.warning("hook.refused", kind=hook.kind, status=status, reason=str(refused))
            raise ApiError(status, code, f"the call {refused}" if status == 400 else str(refused)) from None
        if found.confirm_url:
            await run(self._sns.confirm, found.confirm_url)
            log.info("hook.confirmed", kind=hook.kind)
        if found.reports:
            await sql(self._intake.take, [("", report) for report in found.reports], hook.kind)
        await self._context.write(hooks.note_use, hook.id)
        return {"reports": len(found.reports), "ignored": dict(found.ignored)}

    def _received(self, hook: Hook, call: Call) -> Decoded:
        # Brevo needs no secret of its own: our URL is one.
        webhook = webhook_of(Provider(hook.kind), hook.secret or hook.id, self._sns.certificate)
        return receive(webhook, call, _now())


def _now() -> datetime:
    return datetime.now(UTC)
