"""Commands for admins that act on many requests: `retry`, `report`, `mark-sent`, `pause`, `resume`."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import typer

from worker.cli import arguments, session
from worker.cli.arguments import (
    All,
    AppId,
    ContactOption,
    Domain,
    DryRun,
    Email,
    IdArguments,
    ItemOption,
    Json,
    Locale,
    Option,
    Reason,
    Words,
)
from worker.cli.commands import add_commands
from worker.cli.output import reference_text, say, say_json, say_summary
from worker.cli.rehearsing import rehearse

if TYPE_CHECKING:
    from worker.processes.bootstrap import Parts
    from worker.services.selection import Selection
    from worker.services.verbs import Verbs
    from worker.store.actions import Draft
    from worker.store.requests import Filter

WaitsOrFailed = Literal["RECEIVED", "FAILED"]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(
        app,
        {"retry": retry, "report": report, "mark-sent": mark_sent, "pause": pause, "resume": resume},
        panel="Admin",
    )


def retry(
    ids: IdArguments = None,
    item: ItemOption = None,
    app_id: AppId = None,
    option: Option = None,
    email: Email = None,
    contact: ContactOption = None,
    reason: Reason = None,
    domain: Domain = None,
    words: Words = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only failed since this time (ISO 8601, UTC without an offset).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only failed before this time.")] = None,
    locale: Locale = None,
    everything: Annotated[bool, typer.Option("--all", help="All FAILED requests.")] = False,
    even_if_sold_out: Annotated[
        bool | None,
        typer.Option(
            "--even-if-sold-out/--when-in-stock",
            help="Send even if the item is sold out, or only when it is in stock.",
            show_default="by ID: even if sold out; else: when in stock",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also OUTCOME_UNKNOWN (the mail may have arrived) and SUPPRESSED (if lifted)."),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Retry FAILED requests.

    Requests named by ID are sent even if the item is sold out. Requests selected by options wait again until the item
    is in stock. --since and --until compare with the time when they failed; a time without an offset is UTC.

    --dry-run tells who would be told, with their places in line, in which wave and when; who would wait on, and why;
    and the first mail.

    [bold]Example:[/bold]  stockbell retry --reason RETRIES_EXHAUSTED --since 2026-11-23 --dry-run
    """
    from worker.store import admin

    arguments.optional_reference(item, app_id, option)
    arguments.time_of(since)
    chosen = arguments.selection(
        option,
        status="FAILED",
        item=item,
        app=app_id,
        email=email,
        contact=contact,
        code=arguments.reason_of(reason),
        domain=domain,
        words=words,
        since=since,
        until=until,
        locale=locale,
    )
    arguments.check_choice(
        ids, filtered=everything or not chosen.is_everything, hint="--item, --reason, --since, --all and others"
    )
    known, malformed = ids_of(ids)
    parts = session.ready_parts()
    which: Sequence[UUID] | Filter = known if ids else parts.database.read(chosen.filter)
    ordered = bool(ids) if even_if_sold_out is None else even_if_sold_out
    if dry_run:
        would = partial(_verbs(parts).would_retry, which, force=force)
        verb = partial(admin.retry, ordered=ordered, force=force)
        rehearse(parts, would, verb, "would be retried", malformed, as_json=as_json)
        return
    draft = draft_of(parts, "retry", chosen, known, force=force, ordered=ordered)
    done = _verbs(parts).retry(which, ordered=ordered, force=force, draft=draft)
    say_summary(done, "will be retried", malformed, as_json=as_json)


@arguments.selects()
def report(
    chosen: "Selection",
    ids: IdArguments = None,
    everything: All = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send waiting requests now, even if the item is sold out (Wix: Report Items Back In Stock).

    Give either --item, for all requests that wait for the item, or another filter, or ids. Pauses still apply.
    Requests that are being sent are refused. --dry-run tells who would be told, and in which order.

    [bold]Example:[/bold]  stockbell report --item mug-1 --option size=L
    """
    from dataclasses import replace

    from worker.store import admin

    arguments.check_choice(ids, filtered=everything or not chosen.is_everything, hint="--item, --domain, --all")
    known, malformed = ids_of(ids)
    parts = session.ready_parts()
    which: Sequence[UUID] | Filter = known
    if not ids:
        which = replace(parts.database.read(chosen.filter), status=None, is_unresolved=True)
    if dry_run:
        would = partial(_verbs(parts).would_report, which)
        rehearse(parts, would, admin.report, f"would be sent {_from_when(parts)}", malformed, as_json=as_json)
        return
    done = _verbs(parts).report(which, draft=draft_of(parts, "report", chosen, known))
    say_summary(done, f"will be sent {_from_when(parts)}", malformed, as_json=as_json)


@arguments.selects()
def mark_sent(
    chosen: "Selection",
    ids: IdArguments = None,
    status: Annotated[
        WaitsOrFailed | None, typer.Option(case_sensitive=False, help="All of this status that match.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Mark requests as sent, because the customer was told by other means (Wix: Mark As Notification Sent).

    Give either ids, or --status and a filter.

    [bold]Example:[/bold]  stockbell mark-sent --status FAILED --domain example.com --since 2026-11-23
    """
    arguments.check_choice(ids, filtered=status is not None, hint="--status, and what else they have in common")
    known, malformed = ids_of(ids)
    parts = session.ready_parts()
    which: Sequence[UUID] | Filter = known if ids else parts.database.read(chosen.filter)
    done = _verbs(parts).mark_sent(which, draft=draft_of(parts, "mark-sent", chosen, known))
    say_summary(done, "marked as sent", malformed, as_json=as_json)


def pause(item: ItemOption = None, app_id: AppId = None, option: Option = None, as_json: Json = False) -> None:
    """Stop sending, for everything or for one item. Requests are kept, and new ones are accepted.

    Takes effect within a second. Without --option all variants of the item are paused, with --option only that
    variant. An unknown item can be paused too.

    [bold]Example:[/bold]  stockbell pause --item mug-1
    """
    reference = arguments.optional_reference(item, app_id, option)
    verbs = _verbs(session.ready_parts())
    changed = verbs.pause(reference, session.who())
    is_known = reference is None or verbs.is_known(reference)
    note = "" if is_known else "; the item is not known yet, the pause will apply when it appears"
    if as_json:
        say_json({"changed": int(changed), "refused": [], "known": is_known})
    else:
        say(f"{reference_text(reference)}: {'paused' if changed else 'was paused already'}{note}")


def resume(item: ItemOption = None, app_id: AppId = None, option: Option = None, as_json: Json = False) -> None:
    """Start sending again: end the pause that has the same --item and --option."""
    reference = arguments.optional_reference(item, app_id, option)
    verbs = _verbs(session.ready_parts())
    changed = verbs.resume(reference, session.who())
    wider = reference and verbs.still_stopped_by(reference)
    if as_json:
        say_json({"changed": int(changed), "refused": []})
    else:
        note = f"; but {wider} is still paused" if wider else ""
        say(f"{reference_text(reference)}: {'resumed' if changed else 'was not paused'}{note}")


def _verbs(parts: "Parts") -> "Verbs":
    from worker.services.verbs import Verbs

    return Verbs(parts.database, parts.bell)


def _from_when(parts: "Parts") -> str:
    from worker.store import quiet_hours

    until = parts.database.read(quiet_hours.quiet_until)
    return f"after quiet hours, from {until:%Y-%m-%d %H:%M} UTC on" if until else "now"


def draft_of(parts: "Parts", verb: str, chosen: "Selection", ids: Sequence[UUID], **options: bool) -> "Draft":
    """Returns what the audit trail keeps of a command: who, what, to whom."""
    from worker.services.selection import MOST_IDS, Selection
    from worker.store.actions import Draft

    if ids:
        about = {**Selection(ids=tuple(ids[:MOST_IDS])).as_json(), "number": str(len(ids))}
        return Draft(session.who(), verb, about, options)
    kept = parts.database.read(chosen.without_address)
    return Draft(session.who(), verb, kept.as_json(), options, kept.command(verb, **options), kept.contact)


def ids_of(texts: list[str] | None) -> tuple[list[UUID], list[str]]:
    """Returns the valid ids, and the texts that are not ids."""
    found = {text: arguments.request_id(text) for text in texts or ()}
    return [id_ for id_ in found.values() if id_], [text for text, id_ in found.items() if not id_]
