"""Puts the program together: settings in, parts out. Nothing here connects to anything.

A part is imported when it is first asked for. Each library takes a tenth of a second or more to load, and no process
needs all of them: the listener sends no mail, and a list of requests needs no Celery.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

from config.settings import SHIPPED_TEMPLATES, Settings, Shown, shown
from worker.domain.errors import BadRules, BadSetting
from worker.domain.policies import Policies
from worker.domain.relays import Mailbox, Relay

if TYPE_CHECKING:
    from worker.delivery.line import Line
    from worker.domain.brand import Brand
    from worker.domain.recognition import Recognizer
    from worker.domain.reply_rules import ReplyRules
    from worker.domain.tokens import Tokens
    from worker.feedback.imap import ImapMailbox
    from worker.mail.confirmation import ConfirmationWriter
    from worker.mail.inspection import Inspection
    from worker.mail.letter import LetterWriter
    from worker.mail.render import Renderer
    from worker.mail.sources import Sources
    from worker.mail.ways_out import WaysOut
    from worker.queue.bell import Bell
    from worker.services.doctor import Installation
    from worker.services.returning import Intake
    from worker.smtp.mailer import Mailer
    from worker.store.database import Database
    from worker.stream.event_stream import Stream

NOBODY = UUID(int=0)
"""No request's id. Its token, as valid as others, is in the return path of a probe, which a relay may look up."""
GARBAGE = 20_000
"""Python looks for cycles when this many new objects are not freed."""


def collect_rarely() -> None:
    """For processes whose objects have no cycles and are freed as soon as they are no longer used.

    To look for cycles after every 700 new objects took a third of the listener's time.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE)


@dataclass(frozen=True)
class Parts:
    """The parts of the program, each made when it is first asked for."""

    settings: Settings
    files: "Sources | None" = None
    """those that mails are made from, if they were read before"""

    def anew(self) -> "Parts":
        """The same parts, not made yet: for what reads files as they are now, and shares no connection."""
        return Parts(self.settings)

    @property
    def shown_settings(self) -> Sequence[Shown]:
        """All settings for people to read, without their secrets."""
        return shown(self.settings)

    @property
    def policies(self) -> Policies:
        """The sending policies of the shop."""
        settings = self.settings
        return Policies(
            settings.min_quantity,
            settings.notify_per_unit,
            settings.wave_seconds,
            settings.settle_seconds,
            settings.assumed_quantity,
            settings.send_window,
            digest=settings.digest == "on",
            contact_interval=settings.contact_interval,
            request_ttl_days=settings.request_ttl_days,
            keep_told_days=settings.keep_told_days,
            keep_failed_days=settings.keep_failed_days,
        )

    @cached_property
    def database(self) -> "Database":
        """Where requests are."""
        from worker.store.database import Database

        settings = self.settings
        return Database(settings.database_url, pooler=settings.database_pooler, window=settings.send_window)

    @cached_property
    def bell(self) -> "Bell":
        """Rings for workers."""
        from worker.queue.bell import Bell, celery_app

        return Bell(celery_app(lambda: self.settings.redis_url))

    @cached_property
    def stream(self) -> "Stream":
        """Where events come from."""
        from worker.stream.event_stream import Stream

        return Stream(self.settings.events_url, self.settings.event_stream)

    def check_broker(self) -> None:
        """Raises BadSetting if REDIS_URL names what can't be used. A Redis that is away is waited for elsewhere."""
        from worker import redis_servers

        redis_servers.check(self.settings.redis_url, "REDIS_URL")

    def check_events(self) -> None:
        """Does the same for the Redis of the event stream, which may have a setting of its own."""
        from worker import redis_servers

        is_shared = self.settings.events_url == self.settings.redis_url
        redis_servers.check(self.settings.events_url, "REDIS_URL" if is_shared else "STOCKBELL_EVENTS_URL")

    def check_redis(self) -> None:
        """Checks both, or the one that is used for both."""
        self.check_events()
        if self.settings.events_url != self.settings.redis_url:
            self.check_broker()

    @cached_property
    def templates(self) -> "Sources":
        """The files that mails are made from, as they are when they are asked for first."""
        from worker.mail.sources import Sources

        return self.files or Sources(self.settings.template_dir, SHIPPED_TEMPLATES)

    @cached_property
    def renderer(self) -> "Renderer":
        """Makes texts from templates."""
        from worker.mail.render import Renderer

        return Renderer(
            self.templates,
            self.settings.store_name,
            brand=self.brand,
            default_locale=self.settings.default_locale,
        )

    def inspection(self) -> "Inspection":
        """Tries all mails in all languages, and returns what is wrong with their templates."""
        from worker.mail.confirmation import ConfirmationPage
        from worker.mail.inspection import inspect

        settings = self.settings
        page = ConfirmationPage(self.templates, settings.store_name, self.brand, settings.default_locale)
        return inspect(self.renderer, page, self.templates)

    @cached_property
    def brand(self) -> "Brand":
        """What makes mails the shop's own."""
        from worker.domain.brand import Brand, palette, parse_colour

        colour = self.settings.brand_color
        return Brand(
            self.settings.brand_logo_url,
            palette(parse_colour(colour)) if colour else None,
            self.settings.brand_address,
        )

    @property
    def relays(self) -> Sequence[Relay]:
        """The relays, in the order in which they are tried; raises BadSetting if none is set."""
        if self.settings.smtp is None:
            raise BadSetting("SMTP_URL is not set: without a relay nothing can be sent")
        return self.settings.smtp

    @property
    def sender(self) -> Mailbox:
        """The sender of all mails; raises BadSetting if none is set."""
        if self.settings.mail_from is None:
            raise BadSetting("MAIL_FROM is not set: without a sender nothing can be sent")
        return self.settings.mail_from

    @cached_property
    def reply_rules(self) -> "ReplyRules":
        """What relays' replies mean: the rows of the ops' file, if it is set, before ours; raises BadSetting."""
        from worker.domain.reply_rules import shipped, with_own

        try:
            return with_own(self.settings.reply_rules) if self.settings.reply_rules else shipped()
        except BadRules as bad:
            raise BadSetting(f"STOCKBELL_REPLY_RULES: {bad}") from None

    @cached_property
    def tokens(self) -> "Tokens | None":
        """Signs the names of mails and customers; None without STOCKBELL_SECRET_KEY."""
        from worker.domain.tokens import Tokens

        keys = [key.get_secret_value().encode() for key in self.settings.secret_key]
        return Tokens(keys) if keys else None

    def imap_mailbox(self, *, changes_nothing: bool = False, answer_seconds: float | None = None) -> "ImapMailbox":
        """The folder that bounces come to; raises BadSetting if none is set."""
        from worker.feedback.imap import ImapMailbox

        if self.settings.bounce_imap is None:
            raise BadSetting("STOCKBELL_BOUNCE_IMAP is not set: there is no mailbox to read")
        return ImapMailbox(self.settings.bounce_imap, changes_nothing=changes_nothing, answer_seconds=answer_seconds)

    @cached_property
    def recognizer(self) -> "Recognizer":
        """Knows which mails a report proves to be about."""
        from worker.domain.recognition import Recognizer

        sender = self.settings.mail_from
        return Recognizer(self.tokens, sender.domain if sender else None)

    @cached_property
    def intake(self) -> "Intake":
        """Takes reports about mails, which are judged by the ops' rows as well; raises BadSetting."""
        from worker.domain import reply_rules
        from worker.services.returning import Intake

        reply_rules.use(self.reply_rules)
        return Intake(self.database, self.recognizer)

    @cached_property
    def mailer(self) -> "Mailer":
        """The connections to the relays; raises BadSetting if relay or sender is not set."""
        return self.mailer_with(self.settings.smtp_connections)

    def mailer_with(self, connections: int) -> "Mailer":
        """Like `mailer`, with so many connections to each relay."""
        from worker.smtp.mailer import Mailer

        return Mailer(
            *self.relays,
            sender=self.settings.bounce_address or self.sender.address,
            connections=connections,
            pipelining=self.settings.smtp_pipelining == "auto",
            provider=self.settings.provider,
            sample=self.tokens.for_return(NOBODY, 0) if self.tokens else "",
        )

    @property
    def ways_out(self) -> "WaysOut":
        """What mails offer a customer to leave by."""
        from worker.mail.ways_out import ways_out

        return ways_out(self.tokens, self.settings.bounce_address, self.settings.public_url)

    def letter_writer(self, sender: Mailbox) -> "LetterWriter":
        """Writes mails; raises BadSetting if they can't be from `sender`."""
        from worker.mail.letter import LetterWriter

        return LetterWriter(
            self.renderer,
            sender,
            self.settings.item_url_template,
            tokens=self.tokens,
            ways=self.ways_out,
            reply_to=self.settings.reply_to,
        )

    def confirmation_writer(self) -> "ConfirmationWriter":
        """Writes mails that ask to confirm; raises BadSetting if something is not set that they need."""
        from worker.mail.confirmation import ConfirmationWriter

        settings = self.settings
        if settings.public_url is None:
            raise BadSetting("STOCKBELL_PUBLIC_URL is not set: without it a mail has no link to confirm by")
        if self.tokens is None:
            raise BadSetting("STOCKBELL_SECRET_KEY is not set: without it a mail has no link to confirm by")
        return ConfirmationWriter(
            self.templates,
            settings.store_name,
            sender=self.sender,
            tokens=self.tokens,
            public_url=settings.public_url,
            ways=self.ways_out,
            reply_to=settings.reply_to,
            brand=self.brand,
            default_locale=settings.default_locale,
        )

    @property
    def installation(self) -> "Installation":
        """All that `services.doctor` examines."""
        from worker.services.doctor import IMAP_SECONDS, Installation
        from worker.services.sender_warnings import warnings_about

        settings = self.settings
        return Installation(
            self.database,
            self.stream,
            self.bell,
            self.check_events,
            self.check_broker,
            settings.events_url == settings.redis_url,
            self.inspection,
            lambda: self.mailer,
            (lambda: self.reply_rules) if settings.reply_rules else None,
            (lambda: self.imap_mailbox(answer_seconds=IMAP_SECONDS)) if settings.bounce_imap else None,
            policies=self.policies,
            sender_warnings=warnings_about(settings.mail_from, settings.reply_to, settings.public_url, self.ways_out),
        )

    def line(self) -> "Line":
        """One worker process. Call this after the fork, in the process's event loop; raises BadSetting."""
        from worker.delivery.lease import Lease
        from worker.delivery.line import Line
        from worker.delivery.slice_clock import Pace
        from worker.delivery.throttle import Throttle
        from worker.domain import reply_rules
        from worker.domain.verdicts import RetryPolicy
        from worker.stream.shared_bucket import SharedBucket

        settings = self.settings
        reply_rules.use(self.reply_rules)
        rate = settings.max_send_rate
        return Line(
            database=self.database,
            lease=Lease(self.database, settings.lease_seconds),
            mailer=self.mailer,
            letters=self.letter_writer(self.sender),
            bell=self.bell,
            policies=self.policies,
            policy=RetryPolicy(settings.max_attempts, settings.retry_seconds, settings.on_unknown),
            connections=settings.smtp_connections,
            pace=Pace(settings.smtp_connections, settings.batch_size),
            throttle=Throttle(SharedBucket(settings.redis_url, rate) if rate else None),
        )
