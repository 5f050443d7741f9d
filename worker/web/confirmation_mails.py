"""Sends the mails that ask customers to confirm: one after the other, on one connection, beside the routes.

Any number of processes may do so. Each mail is one process's for the time of a lease. If a process is killed after the
relay took a mail and before that is recorded, the mail is sent again when the lease has ended.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

import structlog

from worker.domain import reply_rules
from worker.domain.errors import BadAddress, BadSetting, DatabaseAway, RedisAway, SchemaOutdated, TemplateBroken
from worker.domain.outcomes import Deferred, NotSent, Outcome, Rejected, RelayDown, Sent, Unknown
from worker.domain.replies import reason
from worker.models import uuid7_of
from worker.processes.bootstrap import Parts
from worker.services.trying import send_one
from worker.store import confirmations
from worker.store.confirmations import Due
from worker.web.context import Context

if TYPE_CHECKING:
    from worker.stream.shared_bucket import SharedBucket

LOOK_SECONDS: Final = 1.0
"""How often it is asked whether there is something to send."""
PACE_SECONDS: Final = 0.2
"""The least time between two mails."""
AWAY_SECONDS: Final = 10.0
"""The pause after the database, the relay, or Redis (with STOCKBELL_MAX_SEND_RATE) could not be reached."""
FIRST_DELAY: Final = 60.0
LONGEST_DELAY: Final = 3600.0
"""Seconds to the next try. They double with each one."""
MOST_REFUSALS: Final = 5
"""After so many tries a refusal that may be about us counts as one for good."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Later:
    """The mail is to be tried again."""

    why: str


@dataclass(frozen=True, slots=True)
class _Ended:
    """The mail was sent, or will never be."""

    why: str | None = None


def check(parts: Parts) -> None:
    """Raises BadSetting, and TemplateBroken, if customers have to confirm and can't be asked to."""
    settings = parts.settings
    if settings.double_opt_in == "off":
        return
    needed = {
        "STOCKBELL_PUBLIC_URL": settings.public_url,
        "STOCKBELL_SECRET_KEY": settings.secret_key,
        "SMTP_URL": settings.smtp,
        "MAIL_FROM": settings.mail_from,
    }
    if missing := [name for name, value in needed.items() if not value]:
        raise BadSetting(
            f"STOCKBELL_DOUBLE_OPT_IN={settings.double_opt_in} needs {', '.join(missing)}: "
            "without, nobody can be asked to confirm"
        )
    parts.confirmation_writer().check()


def sender_of(context: Context) -> "ConfirmationMails | None":
    """Returns what sends these mails. None if something is not set that it needs; see `check`."""
    try:
        return ConfirmationMails(context)
    except BadSetting as missing:
        log.info("confirmations.not_sent", reason=str(missing))
        return None


class ConfirmationMails:
    """Runs until the process ends, and never raises. Raises BadSetting at first if it can't be."""

    def __init__(self, context: Context) -> None:
        parts = context.parts
        self._context = context
        self._writer = parts.confirmation_writer()
        self._mailer = parts.mailer_with(1)
        self._rules = parts.reply_rules
        self._may_be_repeated = parts.settings.on_unknown == "resend"
        self._bucket = _bucket(parts)
        self._is_away = False

    async def __call__(self) -> None:
        """Sends what is due until `Context.stopping` is set."""
        reply_rules.use(self._rules)
        try:
            while not self._context.stopping.is_set():
                await self._context.rest(await self._next())
        finally:
            await self._mailer.close()
            if self._bucket:
                self._bucket.close()

    async def _next(self) -> float:
        """Sends the next mail, if there is one. Returns how long to rest."""
        try:
            seconds = await self._send_next()
            self._is_away = False
        except (DatabaseAway, SchemaOutdated) as away:
            if not self._is_away:
                log.warning("web.database_away", reason=str(away))
            self._is_away = True
            seconds = AWAY_SECONDS
        except Exception:
            log.exception("confirmations.fault")
            seconds = AWAY_SECONDS
        return seconds

    async def _send_next(self) -> float:
        if not await self._context.read(confirmations.is_any_due):
            await self._mailer.close_idle()
            return LOOK_SECONDS
        if wait := await self._wait_of_rate():
            return wait
        due = await self._context.write(confirmations.claim)
        if due is None:  # mail is stopped, or another process was faster
            return LOOK_SECONDS
        result, outcome = await self._send(due)
        await self._record(due, result)
        return AWAY_SECONDS if isinstance(outcome, RelayDown) else PACE_SECONDS

    async def _send(self, due: Due) -> tuple[_Ended | _Later, Outcome | None]:
        try:
            # The same for each try, so that receivers can drop a repeated mail.
            mail_id = uuid7_of(due.asked_at, due.contact_id)
            mail = self._writer.write(mail_id, due.contact_id, due.email, due.items, due.locale)
        except BadAddress as bad:
            return _Ended(str(bad)), None
        except TemplateBroken as broken:
            log.error("confirmation.template_broken", reason=str(broken))
            return _Later(str(broken)), None
        outcome = await send_one(self._mailer, mail)
        return self._judged(outcome, due.tries), outcome

    def _judged(self, outcome: Outcome, tries: int) -> _Ended | _Later:
        match outcome:
            case Sent():
                return _Ended()
            case Unknown(why):
                return _Later(why) if self._may_be_repeated else _Ended()
            case Rejected(reason=why, is_certain=is_certain):
                return _Ended(why) if is_certain or tries >= MOST_REFUSALS else _Later(why)
            case Deferred(reply=reply):
                return _Later(reason(reply))
            case RelayDown(reason=why) | NotSent(why):
                return _Later(why)
            case _:
                assert_never(outcome)

    async def _record(self, due: Due, result: _Ended | _Later) -> None:
        about = {"contact_id": str(due.contact_id), "tries": due.tries}
        if isinstance(result, _Later):
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(due.tries - 1, 10))
            await self._context.write(confirmations.later, due, delay, result.why)
            log.info("confirmation.put_off", reason=result.why, **about)
            return
        await self._context.write(confirmations.sent, due, result.why)
        if result.why:
            log.info("confirmation.refused", reason=result.why, **about)
        else:
            log.info("confirmation.sent", **about)

    async def _wait_of_rate(self) -> float:
        """Takes a mail from the limit that is shared with the workers. Returns how long to wait if there is none."""
        if self._bucket is None:
            return 0.0
        try:
            grant = await self._context.run(self._bucket.take, 1)
        except RedisAway:
            return AWAY_SECONDS
        return 0.0 if grant.mails else grant.wait


def _bucket(parts: Parts) -> "SharedBucket | None":
    from worker.stream.shared_bucket import SharedBucket

    rate = parts.settings.max_send_rate
    return SharedBucket(parts.settings.redis_url, rate) if rate else None
