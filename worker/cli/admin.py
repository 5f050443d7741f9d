"""What admins do to many requests at once: `retry`, `report`, `mark-sent`, `pause`, `resume`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from worker.cli import arguments, session
from worker.cli.arguments import AppId, IdArguments, ItemOption, Json, Option
from worker.cli.commands import add_commands
from worker.cli.output import list_header, list_line, reference_text, say, say_json, say_summary

if TYPE_CHECKING:
    from worker.processes.bootstrap import Parts
    from worker.services.verbs import Verbs


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(
        app,
        {"retry": retry, "report": report, "mark-sent": mark_sent, "pause": pause, "resume": resume},
        panel="What admins do",
    )


def retry(
    ids: IdArguments = None,
    item: ItemOption = None,
    app_id: AppId = None,
    option: Option = None,
    reason: Annotated[str | None, typer.Option(metavar="CODE", help="Only with this failure code.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only failed since then (ISO 8601).")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that FAILED.")] = False,
    even_if_sold_out: Annotated[
        bool, typer.Option("--even-if-sold-out", help="Send whatever the stock, as for ids.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also OUTCOME_UNKNOWN, who may have been told already, and SUPPRESSED.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show who would be retried.")] = False,
    as_json: Json = False,
) -> None:
    """Try FAILED requests again.

    By id they are sent whatever the stock. By --item, --reason, --since or --all they wait again, and are sent once
    the item is in stock. --since goes by the last try, also of what could not be tried (no link, no usable address).

    [bold]Example:[/bold]  stockbell retry --reason RETRIES_EXHAUSTED --since 2026-11-23 --dry-run
    """
    from worker.models import Status
    from worker.services.verbs import waiting_lists
    from worker.store.requests import Filter

    reference = arguments.optional_reference(item, app_id, option)
    code, start = arguments.reason_of(reason), arguments.time_of(since)
    arguments.check_choice(
        ids, filtered=everything or bool(reference or code or start), hint="--item, --reason, --since, --all"
    )
    known, malformed = _ids(ids)
    parts = session.ready_parts()
    which: Sequence[UUID] | Filter = known
    if not ids:
        lists = waiting_lists(parts.database, reference)
        which = Filter(status=Status.FAILED, lists=lists, failure_code=code, failed_since=start)
    if dry_run:
        _dry_run(parts, which, malformed, force=force, as_json=as_json)
        return
    done = _verbs(parts).retry(which, ordered=bool(ids) or even_if_sold_out, force=force)
    say_summary(done, "to be tried again", malformed, as_json=as_json)


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
    say_summary(done, "would be tried again", malformed, as_json=as_json, more=more)


def report(
    ids: IdArguments = None,
    item: ItemOption = None,
    app_id: AppId = None,
    option: Option = None,
    as_json: Json = False,
) -> None:
    """Tell those who wait now, whatever the stock (Wix: Report Items Back In Stock).

    Takes either --item, for all who wait for it, or ids. What is paused stays paused, and who is being told already
    is refused.

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
    say_summary(_verbs(parts).report(which), "to be told now", malformed, as_json=as_json)


def mark_sent(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of requests.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Mark requests as told by other means (Wix: Mark As Notification Sent)."""
    known, malformed = _ids(ids)
    done = _verbs(session.ready_parts()).mark_sent(known)
    say_summary(done, "marked as sent", malformed, as_json=as_json)


def pause(item: ItemOption = None, app_id: AppId = None, option: Option = None, as_json: Json = False) -> None:
    """Stop sending, for everything or for one item. Requests are kept, and still come in.

    Takes effect within a second. Without --option an item stops with all its variants, with --option that variant
    alone. An item that nobody knows yet can be paused too.

    [bold]Example:[/bold]  stockbell pause --item mug-1
    """
    reference = arguments.optional_reference(item, app_id, option)
    verbs = _verbs(session.ready_parts())
    changed = verbs.pause(reference)
    is_known = reference is None or verbs.is_known(reference)
    note = "" if is_known else "; no such item known yet, it will apply when it appears"
    if as_json:
        say_json({"changed": int(changed), "refused": [], "known": is_known})
    else:
        say(f"{reference_text(reference)}: {'paused' if changed else 'was paused already'}{note}")


def resume(item: ItemOption = None, app_id: AppId = None, option: Option = None, as_json: Json = False) -> None:
    """Let sending go on: takes back what `pause` did with the same --item and --option."""
    reference = arguments.optional_reference(item, app_id, option)
    verbs = _verbs(session.ready_parts())
    changed = verbs.resume(reference)
    wider = reference and verbs.still_stopped_by(reference)
    if as_json:
        say_json({"changed": int(changed), "refused": []})
    else:
        note = f"; {wider} is paused, though" if wider else ""
        say(f"{reference_text(reference)}: {'resumed' if changed else 'was not paused'}{note}")


def _verbs(parts: "Parts") -> "Verbs":
    from worker.services.verbs import Verbs

    return Verbs(parts.database, parts.bell)


def _ids(texts: list[str] | None) -> tuple[list[UUID], list[str]]:
    """Those that can be ids, and those that can't."""
    found = {text: arguments.request_id(text) for text in texts or ()}
    return [id_ for id_ in found.values() if id_], [text for text, id_ in found.items() if not id_]
