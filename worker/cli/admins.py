"""Commands on the users of the pages for admins: `admin ...`."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn

import typer

from worker.cli import session
from worker.cli.arguments import Json
from worker.cli.commands import add_commands, add_group
from worker.cli.output import complain, printable, say, say_json
from worker.domain.errors import BadSetting

if TYPE_CHECKING:
    from worker.processes.bootstrap import Parts
    from worker.store.database import Connection

LINE: Final = "{:<20}  {:<6}  {:<16}  {:<16}  {}"
SESSION: Final = "{:<16}  {:<24}  {:<16}  {:<16}  {}"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.", show_default=False)]
RoleName = Literal["viewer", "admin"]
Role = Annotated[RoleName, typer.Option(help="viewer: look at everything; admin: change everything.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    group = add_group(app, "admin", "Say who may log in to the pages for admins.", panel="The web process")
    add_commands(group, {"add": add, "list": list_, "password": password, "role": role, "remove": remove})
    add_commands(group, {"sessions": sessions})


def add(name: Name, role: Role, as_json: Json = False) -> None:
    """Add a user. The password is asked for twice, or read from stdin, which then has one line.

    [bold]Example:[/bold]  stockbell admin add jane --role admin
    """
    from worker.domain.admins import Role
    from worker.store import actions, admins

    name = _checked(name)
    hashed = _new_hash(name)

    def work(c: "Connection") -> bool:
        is_new = admins.add(c, name, Role(role), hashed) is not None
        if is_new:
            actions.note(
                c, session.who(), "admin add", {"user": name, "role": role}, command=f"admin add --role {role}"
            )
        return is_new

    if not session.ready_parts().database.write(work):
        _refuse(f"there is a user {printable(name)} already")
    _say({"name": name, "role": role}, f"added: {printable(name)}, {role}", as_json=as_json)


def list_(as_json: Json = False) -> None:
    """List all users."""
    from worker.services.wire import timestamp
    from worker.store import admins

    found = [row for row in session.ready_parts().database.read(admins.each) if row.removed_at is None]
    if as_json:
        for row in found:
            about = {"name": row.name, "role": row.role, "created": timestamp(row.created_date)}
            changed, used = timestamp(row.changed_at), row.used_at and timestamp(row.used_at)
            say_json({**about, "changed": changed, "lastLogin": used, "sessions": row.sessions})
        return
    if not found:
        complain("no users: nobody can log in. `stockbell admin add NAME --role admin` adds one")
        return
    say(LINE.format("NAME", "ROLE", "ADDED", "LAST LOG-IN", "SESSIONS"))
    for row in found:
        say(LINE.format(printable(row.name), row.role, _short(row.created_date), _short(row.used_at), row.sessions))


def password(name: Name, as_json: Json = False) -> None:
    """Set a user's password, as `add` does. All sessions end, and failed log-ins are forgotten."""
    from worker.services.logging_in import subject_of
    from worker.store import actions, admins, guesses

    name = _checked(name)
    parts = session.ready_parts()
    _expect(parts, name)
    hashed = _new_hash(name)

    def work(c: "Connection") -> bool:
        is_set = admins.set_password(c, name, hashed)
        if is_set:
            guesses.clear(c, subject_of(parts.tokens, "name", name))
            actions.note(c, session.who(), "admin password", {"user": name}, command=f"admin password {name}")
        return is_set

    if not parts.database.write(work):
        _refuse(f"no such user: {printable(name)}")
    _say({"name": name}, f"changed: {printable(name)}; all sessions have ended", as_json=as_json)


def role(name: Name, role: Annotated[RoleName, typer.Argument(metavar="ROLE")], as_json: Json = False) -> None:
    """Make a user a viewer or an admin. All sessions end.

    [bold]Example:[/bold]  stockbell admin role jane viewer
    """
    from worker.domain.admins import Role
    from worker.store import actions, admins

    name = _checked(name)
    parts = session.ready_parts()
    _expect(parts, name)

    def work(c: "Connection") -> bool:
        is_set = admins.set_role(c, name, Role(role))
        if is_set:
            about = {"user": name, "role": role}
            actions.note(c, session.who(), "admin role", about, command=f"admin role {name} {role}")
        return is_set

    is_changed = parts.database.write(work)
    text = f"{printable(name)} is {role} now; all sessions have ended" if is_changed else f"{printable(name)} is {role}"
    _say({"name": name, "role": role, "changed": is_changed}, text, as_json=as_json)


def remove(name: Name, as_json: Json = False) -> None:
    """Remove a user. All sessions end at once. What the user did stays in the audit trail."""
    from worker.store import actions, admins

    name = _checked(name)

    def work(c: "Connection") -> tuple[bool, bool]:
        is_removed = admins.remove(c, name)
        if is_removed:
            actions.note(c, session.who(), "admin remove", {"user": name}, command=f"admin remove {name}")
        return is_removed, admins.is_any(c)

    is_removed, is_any = session.ready_parts().database.write(work)
    if not is_removed:
        _refuse(f"no such user: {printable(name)}")
    if not is_any:
        complain("no user is left: nobody can log in")
    _say({"name": name}, f"removed: {printable(name)}", as_json=as_json)


def sessions(
    name: Name,
    end: Annotated[bool, typer.Option("--end", help="End all of them.")] = False,
    as_json: Json = False,
) -> None:
    """List where a user is logged in, or end that."""
    from worker.services.wire import timestamp
    from worker.store import actions, admins

    name = _name_of_sessions(name)
    database = session.ready_parts().database
    if end:

        def work(c: "Connection") -> int:
            ended = admins.close_all(c, name)
            actions.note(
                c,
                session.who(),
                "admin sessions",
                {"user": name},
                changed=ended,
                command=f"admin sessions {name} --end",
            )
            return ended

        ended = database.write(work)
        _say({"name": name, "ended": ended}, f"ended: {ended}", as_json=as_json)
        return
    found = database.read(admins.sessions_of, name)
    if not found and not as_json:
        complain("no sessions")
        return
    if not as_json:
        say(SESSION.format("ID", "BROWSER", "SINCE", "LAST USED", "ENDS"))
    for row in found:
        id_ = row.digest[: admins.SHOWN_DIGITS]
        times = row.created_date, row.seen_at, row.ends_at
        if as_json:
            since, used, ends = map(timestamp, times)
            say_json({"id": id_, "browser": row.browser, "since": since, "lastUsed": used, "ends": ends})
        else:
            say(SESSION.format(id_, row.browser or "unknown", *map(_short, times)))


def _checked(name: str) -> str:
    from worker.domain.admins import checked_user

    try:
        return checked_user(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _name_of_sessions(name: str) -> str:
    """Those who came by the one-time link are no user, and have sessions."""
    from worker.domain.admins import FIRST

    return name if name == FIRST else _checked(name)


def _expect(parts: "Parts", name: str) -> None:
    """Says that there is no such user before a password is asked for."""
    from worker.store import admins

    if parts.database.read(admins.user_of, name) is None:
        _refuse(f"no such user: {printable(name)}")


def _new_hash(name: str) -> str:
    """Asks for a password and returns its hash."""
    from worker.domain.admins import LEAST_PASSWORD, checked_password

    try:
        from worker.web.passwords import hash_of
    except ModuleNotFoundError as missing:
        raise BadSetting(f"{missing.name} is not installed: pip install 'stockbell[web]'") from None
    if sys.stdin.isatty():
        about = f"Password for {printable(name)} (at least {LEAST_PASSWORD} characters)"
        given = typer.prompt(about, hide_input=True, confirmation_prompt=True, err=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    try:
        return hash_of(checked_password(given, name))
    except ValueError as error:
        _refuse(str(error))


def _refuse(reason: str) -> NoReturn:
    complain(reason)
    raise typer.Exit(1)


def _say(about: dict[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        say_json(about)
    else:
        say(text)


def _short(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "never"
