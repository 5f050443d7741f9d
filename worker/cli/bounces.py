"""`bounces`: takes what came back from a mailbox, from standard input, or as it comes in."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from worker.cli import session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands
from worker.cli.output import complain, printable, say, say_json
from worker.domain.errors import StockbellError

if TYPE_CHECKING:
    from worker.domain.returned import Returned
    from worker.feedback.mailbox import Mailbox
    from worker.processes.bootstrap import Parts
    from worker.services.bounce_intake import Judged


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add_commands(app, {"bounces": bounces}, panel="Processes")


def bounces(
    piped: Annotated[
        str | None, typer.Argument(metavar="[-]", help="'-': one message on stdin, from a mail server.")
    ] = None,
    maildir: Annotated[Path | None, typer.Option("--maildir", metavar="DIR", help="A Maildir.")] = None,
    mbox: Annotated[Path | None, typer.Option("--mbox", metavar="FILE", help="An mbox file.")] = None,
    imap: Annotated[bool, typer.Option("--imap", help="The folder that STOCKBELL_BOUNCE_IMAP names.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until SIGTERM or Ctrl-C.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how each message would be judged, and why. Changes nothing.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most this many messages.")] = None,
    as_json: Json = False,
) -> None:
    """Read what came back: bounces, complaints, and mails to the unsubscribe address.

    Give one mailbox. What was dealt with is marked (Maildir, IMAP) or remembered (mbox); nothing is deleted, and what
    is not about a mail of ours stays as it is. With '-' the exit code is 75 if the message shall be handed over once
    more, and else 0, so that no report ever bounces.

    [bold]Example:[/bold]  stockbell bounces --maildir /var/mail/bounces --dry-run
    """
    _check_choice(piped, maildir, mbox, imap=imap)
    if follow and (piped or dry_run or limit or as_json):
        raise typer.BadParameter("--follow goes with a mailbox only, and with no other option")
    if piped:
        _take_piped(dry_run=dry_run, as_json=as_json)
        return
    parts = session.parts() if follow else session.ready_parts()
    mailbox = _mailbox(parts, maildir, mbox, changes_nothing=dry_run)
    if follow:
        from worker.processes import bounces as following

        following.run(parts, mailbox)
    elif dry_run:
        _judge(parts, mailbox, limit, as_json=as_json)
    else:
        _take(parts, mailbox, limit, as_json=as_json)


def _check_choice(piped: str | None, maildir: Path | None, mbox: Path | None, *, imap: bool) -> None:
    if piped not in {None, "-"}:
        raise typer.BadParameter("the only argument is '-', for stdin")
    if sum(map(bool, (piped, maildir, mbox, imap))) != 1:
        raise typer.BadParameter("give one of --maildir, --mbox, --imap and '-'")


def _mailbox(parts: "Parts", maildir: Path | None, mbox: Path | None, *, changes_nothing: bool) -> "Mailbox":
    if maildir:
        from worker.feedback.maildir import Maildir

        return Maildir(maildir, changes_nothing=changes_nothing)
    if mbox:
        from worker.feedback.mbox import Mbox

        return Mbox(mbox)
    return parts.imap_mailbox(changes_nothing=changes_nothing)


def _take(parts: "Parts", mailbox: "Mailbox", limit: int | None, *, as_json: bool) -> None:
    from worker.services.bounce_intake import FAILED, BounceIntake
    from worker.services.returning import Result

    counts = BounceIntake(parts.database, parts.intake, mailbox).take_all(limit)
    mailbox.close()
    named = {result: counts[result] for result in (*map(str, Result), FAILED)}
    if as_json:
        say_json({"read": counts.total(), **named})
    else:
        say(f"read: {counts.total()}" + "".join(f", {name}: {count}" for name, count in named.items() if count))
    if counts[FAILED]:
        raise typer.Exit(1)


def _judge(parts: "Parts", mailbox: "Mailbox", limit: int | None, *, as_json: bool) -> None:
    from worker.services.bounce_intake import BounceIntake

    for judged in BounceIntake(parts.database, parts.intake, mailbox).judge_all(limit):
        _say_judged(judged, as_json=as_json)
    mailbox.close()


def _take_piped(*, dry_run: bool, as_json: bool) -> None:
    """Takes one message. Whatever hinders that makes the mail server keep it."""
    from worker.feedback.piped import piped_message
    from worker.services.bounce_intake import judge_one, take_one

    try:
        content = piped_message(sys.stdin.buffer)
        parts = session.ready_parts()
        judged = (judge_one if dry_run else take_one)(parts.intake, content)
    except StockbellError as error:
        _hand_over_again(str(error))
    except Exception as error:
        import structlog

        structlog.get_logger().exception("bounce.not_taken", mailbox="stdin")
        _hand_over_again(f"a fault of the program: {type(error).__name__}")
    if dry_run or as_json:
        _say_judged(judged, as_json=as_json)
    elif judged.stays:  # nowhere, in this case
        complain(f"stockbell: accepted, but nothing was done: {judged.taken.reason}")


def _hand_over_again(reason: str) -> NoReturn:
    from config.start import TEMPORARY

    complain(f"stockbell: not taken, try again: {reason}")
    raise typer.Exit(TEMPORARY)


def _say_judged(judged: "Judged", *, as_json: bool) -> None:
    taken = judged.taken
    if as_json:
        say_json(_as_json(judged))
        return
    say(printable(f"{judged.message}  {taken.result.value}  {taken.reason}" + ("; stays" if judged.stays else "")))
    for each in taken.report.returned:
        said = ", ".join(filter(None, [each.kind.value, taken.report.form, *_judged_by(each)]))
        say(printable(f"    {said}: {each.words or 'no words'}"))
    if taken.report.trouble:
        say(printable(f"    {taken.report.trouble}"))


def _judged_by(each: "Returned") -> tuple[str, str]:
    codes = " ".join(str(code) for code in (each.code, each.status) if code)
    return codes, f"row {each.rule}" if each.rule else ""


def _as_json(judged: "Judged") -> Mapping[str, object]:
    taken = judged.taken
    return {
        "message": judged.message,
        "result": taken.result.value,
        "reason": taken.reason,
        "stays": judged.stays,
        "requestId": str(taken.request_id) if taken.request_id else None,
        "contactId": str(taken.contact_id) if taken.contact_id else None,
        "form": taken.report.form,
        "trouble": taken.report.trouble,
        "returned": [
            {
                "kind": each.kind.value,
                "code": each.code,
                "status": each.status,
                "rule": each.rule,
                "words": each.words,
            }
            for each in taken.report.returned
        ],
    }
