"""Commands for admins that act on many requests: `retry`, `report`, `mark-sent`, `pause`, `resume`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from worker.cli import arguments, session
from worker.cli.arguments import (
    AppId,
    ContactOption,
    Domain,
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
from worker.cli.output import list_header, list_line, reference_text, say, say_json, say_summary

if TYPE_CHECKING:
    from worker.processes.bootstrap import Parts
    from worker.services.verbs import Verbs
    from worker.store.requests import Filter


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
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only failed since this time (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only failed before this time.")] = None,
    locale: Locale = None,
    everything: Annotated[bool, typer.Option("--all", help="All FAILED requests.")] = False,
    even_if_sold_out: Annotated[
        bool, typer.Option("--even-if-sold-out", help="Send even if the item is sold out, as for ids.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also OUTCOME_UNKNOWN (the mail may have arrived) and SUPPRESSED (if lifted)."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, show what would change.")] = False,
    as_json: Json = False,
) -> None:
    """Retry FAILED requests.

    Requests named by ID are sent even if the item is sold out. Requests selected by --item, --reason, --since or --all
    wait again until the item is in stock. --since compares with the time when they failed.

    [bold]Example:[/bold]  stockbell retry --reason RETRIES_EXHAUSTED --since 2026-11-23 --dry-run
    """
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
        ids, filtered=everything or not chosen.is_everything, hint="--item, --reason, --since, --all"
    )
    known, malformed = _ids(ids)
    parts = session.ready_parts()
    which: Sequence[UUID] | Filter = known if ids else parts.database.read(chosen.filter)
    if dry_run:
        _dry_run(parts, which, malformed, force=force, as_json=as_json)
        return
    done = _verbs(parts).retry(which, ordered=bool(ids) or even_if_sold_out, force=force)
    say_summary(done, "will be retried", malformed, as_json=as_json)


def _dry_run(parts: "Parts", which: Any, malformed: list[str], *, force: bool, as_json: bool) -> None:
    shown: list[str] = []

    def show(row: Any) -> None:
        if as_json:
            shown.append(str(row.id))
        else:
            say(list_line(row))

    if not as_json:
        say(list_header())
    done = _verbs(parts).would_retry(which, force=force, show=show)
    more = {"dryRun": True, "ids": shown} if as_json else {}
    say_summary(done, "would be retried", malformed, as_json=as_json, more=more)


def report(
    ids: IdArguments = None,
    item: ItemOption = None,
    app_id: AppId = None,
    option: Option = None,
    as_json: Json = False,
) -> None:
    """Send waiting requests now, even if the item is sold out (Wix: Report Items Back In Stock).

    Give either --item, for all requests that wait for the item, or ids. Pauses still apply. Requests that are being
    sent are refused.

    [bold]Example:[/bold]  stockbell report --item mug-1 --option size=L
    """
    from worker.services.verbs import waiting_lists
    from worker.store.requests import Filter

    reference = arguments.optional_reference(item, app_id, option)
    arguments.check_choice(ids, filtered=reference is not None, hint="--item")
    known, malformed = _ids(ids)
    parts = session.ready_parts()
    which: Sequence[UUID] | Filter = known
    if not ids:
        which = Filter(is_unresolved=True, lists=waiting_lists(parts.database, reference))
    say_summary(_verbs(parts).report(which), "will be sent now", malformed, as_json=as_json)


def mark_sent(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of requests.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Mark requests as sent, because the customer was told by other means (Wix: Mark As Notification Sent)."""
    known, malformed = _ids(ids)
    done = _verbs(session.ready_parts()).mark_sent(known)
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


def _ids(texts: list[str] | None) -> tuple[list[UUID], list[str]]:
    """Returns the valid ids, and the texts that are not ids."""
    found = {text: arguments.request_id(text) for text in texts or ()}
    return [id_ for id_ in found.values() if id_], [text for text, id_ in found.items() if not id_]
