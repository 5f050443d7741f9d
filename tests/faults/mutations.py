"""`python -m tests.faults.mutations`: takes safeguards out of the program, and checks whether anybody notices.

Each mutation is made in a copy of the tree. One scenario runs there, mostly in its short form. It has to go red, and
for the right reason. The exit code is 1 if one stays green.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.processes import ROOT, say

COPIED = ("worker", "config", "templates", "tests", "pyproject.toml")
PATIENCE = 20
"""Seconds without progress until a run counts as hung."""


@dataclass(frozen=True, slots=True)
class Edit:
    """The replacement of one text by another in one file, where it has to be exactly once."""

    file: str
    old: str
    new: str

    def places(self, tree: Path) -> int:
        """Returns how often the text is there."""
        return (tree / self.file).read_text().count(self.old)

    def apply(self, tree: Path) -> None:
        if self.places(tree) != 1:
            raise SystemExit(f"{self.file} has {self.places(tree)} times: {self.old}")
        path = tree / self.file
        path.write_text(path.read_text().replace(self.old, self.new))


@dataclass(frozen=True, slots=True)
class Mutation:
    """A safeguard that is taken out, the scenario that has to notice, and the words in which it does."""

    name: str
    scenario: str
    words: str
    """A regular expression for the right breach."""
    edits: Sequence[Edit]
    is_short: bool = True
    """Whether the scenario's short form suffices."""


_NO_RESCUE = Edit("worker/store/sweep.py", "return bool(rows and rows[0].may_rescue)", "return False")
_OUTCOMES_NOT_KEPT = Edit(
    "worker/delivery/recorder.py",
    "if self._stopping.is_set() and time.monotonic() - away_since > GIVE_UP_SECONDS:",
    "if away_since:",
)
_LEAVING_COSTS_A_TRY = (
    Edit("worker/domain/outcomes.py", "for blame in (Blame.RELAY, ", "for blame in ("),
    Edit("worker/domain/outcomes.py", 'r"421",     None,          _RELAY)', 'r"421", None, _deferred)'),
)
_UNKNOWN_IS_TOLD = Edit(
    "worker/domain/verdicts.py",
    "        case Unknown():\n            return _settle_unknown(outcome, spent, policy, jitter)",
    "        case Unknown():\n            return TOLD",
)

MUTATIONS = (
    Mutation(
        "the fence: owner and claim number",
        "frozen",
        "twice for no reason",
        [
            Edit("worker/store/claims.py", " AND r.claim_no = rows.no", ""),
            Edit("worker/store/claims.py", "'PROCESSING' AND r.owner = rows.owner", "'PROCESSING'"),
        ],
    ),
    Mutation(
        # Either safeguard alone is covered by the other.
        "trust in the lease, and the limit on how late a mail may go out",
        "frozen",
        "twice for no reason",
        [
            Edit("worker/delivery/lease.py", " and boot_time() < self._trusted_until", ""),
            Edit("worker/delivery/in_flight.py", "if time.monotonic() > taken.latest", "if False"),
        ],
    ),
    Mutation(
        "the heartbeat",
        "relay-slow",
        "twice for no reason",
        [
            Edit(
                "worker/delivery/lease.py",
                "        away = False\n        while True:",
                "        away = False\n        while False:",
            )
        ],
    ),
    Mutation(
        "the rescue",
        "uncommitted",
        "stuck",
        [_NO_RESCUE],
    ),
    Mutation("the rescue, on SQLite", "workers-sqlite", "stuck", [_NO_RESCUE]),
    Mutation(
        "the bound on what is uncommitted",
        "uncommitted",
        "sent twice",
        [
            Edit(
                "worker/delivery/line.py",
                "uncommitted = self.recorder.uncommitted",
                "uncommitted = self.recorder.uncommitted - 10**6",
            )
        ],
    ),
    Mutation(
        "one Message-ID for all tries",
        "uncommitted",
        "more than one Message-ID",
        [
            Edit(
                "worker/mail/message.py",
                "{digits[20:]}@{domain}>",
                "{digits[20:]}.{__import__('time').time_ns()}@{domain}>",
            )
        ],
    ),
    Mutation(
        "the commit before the acknowledgement",
        "listener",
        "lost",
        [
            Edit(
                "worker/processes/listener.py",
                "        taken = self._commit(events, stop)\n",
                "        self._stream.ack([event.entry_id for event in events])\n"
                "        taken = self._commit(events, stop)\n",
            )
        ],
    ),
    Mutation(
        "outcomes are kept while the database is away",
        "postgresql",
        "twice for no reason|stuck|lost",
        [_OUTCOMES_NOT_KEPT],
    ),
    Mutation(
        "limits behind a pooler end with their transaction",
        "pooler",
        "a neighbour's settings became",
        [Edit("worker/store/pooler.py", "SET LOCAL {name}", "SET {name}")],
    ),
    Mutation(
        "a transaction behind a pooler has its own limits",
        "pooler",
        "'due to lock timeout' in a log",
        [Edit("worker/store/pooler.py", "record.info[_BEGIN] = self._begin", 'record.info[_BEGIN] = "BEGIN"')],
    ),
    Mutation(
        "nothing is prepared behind a pooler",
        "pooler",
        "'prepared statement' in a log",
        [Edit("worker/store/pooler.py", '"prepare_threshold": None', '"prepare_threshold": PREPARE_AFTER')],
    ),
    Mutation("outcomes are kept while connections are cut", "cuts", "twice for no reason|stuck", [_OUTCOMES_NOT_KEPT]),
    Mutation(
        "outcomes are kept while PostgreSQL's disk is full",
        "disk-full-postgresql",
        "twice for no reason",
        [_OUTCOMES_NOT_KEPT],
    ),
    Mutation(
        # The program waits for short locks.
        "outcomes are kept while SQLite is locked",
        "sqlite",
        "twice for no reason",
        [
            _OUTCOMES_NOT_KEPT,
            Edit("worker/store/database.py", 'connect_args={"timeout": 10}', 'connect_args={"timeout": 0}'),
        ],
    ),
    Mutation(
        "the sweep rings again",
        "redis",
        "lost",
        [
            Edit(
                "worker/services/sweeping.py",
                "rung = ring_waiting(self._database, self._bell, recent=recent, policies=self._policies)",
                "rung = int(recent) * 0",
            )
        ],
    ),
    Mutation(
        "the sentinels are asked for each connection",
        "sentinel",
        "not every event is acknowledged",
        [
            Edit(
                "worker/redis_servers.py",
                "                self._hosts = (host, *(other for other in self._hosts if other != host))\n",
                "                self.discover_master = lambda _: answer\n",
            )
        ],
    ),
    Mutation(
        "a new consumer group begins at the beginning",
        "redis",
        "a bell is queued",
        [Edit("worker/stream/event_stream.py", 'GROUP, id="0", mkstream=True', 'GROUP, id="$", mkstream=True')],
    ),
    Mutation(
        "a worker that left is started again",
        "workers",
        "lost",
        [
            Edit(
                "worker/processes/supervisor.py",
                "        pause = min(2 * pause, LONGEST_PAUSE)\n",
                "        stop.wait(1e9)\n",
            )
        ],
    ),
    Mutation(
        "children outlive their parent until their mails are recorded",
        "parents",
        "twice for no reason",
        [Edit("worker/processes/pool_child.py", "prctl(PR_SET_PDEATHSIG, 0)", "prctl(PR_SET_PDEATHSIG, 9)")],
    ),
    Mutation(
        "who may have been told is not told again (ON_UNKNOWN=fail)",
        "at-most-once",
        "sent twice",
        [Edit("worker/store/sweep.py", "r.handed_at IS NULL AND r.rescues", "r.rescues")],
    ),
    Mutation(
        "replies are waited for at the end",
        "scaling",
        "twice for no reason",
        [Edit("worker/delivery/line.py", "STOP_SECONDS = 3.5", "STOP_SECONDS = 0.0")],
    ),
    Mutation(
        "a relay that leaves costs nobody a try",
        "relay-pipelined",
        "attempt",
        _LEAVING_COSTS_A_TRY,
    ),
    Mutation("a relay that leaves costs nobody a try, with TLS", "relay-tls", "attempt", _LEAVING_COSTS_A_TRY),
    Mutation(
        "the breaker closes when the relay is back",
        "relay-limits",
        "lost",
        [Edit("worker/delivery/deliver.py", "    closed = await line.write(breaker.close)\n", "    closed = False\n")],
    ),
    Mutation(
        "what waits for a slow relay is looked at again, and may go out",
        "relay-tarpit",
        "lost",
        [Edit("worker/delivery/in_flight.py", "min(latest, taken.end) if is_wanted else NEVER", "NEVER")],
    ),
    Mutation(
        "a wrong password is our fault",
        "relay-locked",
        "for our settings",
        [
            Edit(
                "worker/domain/outcomes.py",
                "Blame.ACCOUNT: _down(Scope.CONFIGURATION, Blame.ACCOUNT),",
                "Blame.ACCOUNT: _deferred,",
            )
        ],
    ),
    Mutation(
        "an unknown outcome is no success",
        "relay-plain",
        "the relay took no mail",
        [_UNKNOWN_IS_TOLD],
    ),
    Mutation(
        "an unknown outcome is no success, with STARTTLS",
        "relay-starttls",
        "the relay took no mail",
        [_UNKNOWN_IS_TOLD],
    ),
    Mutation(
        # It takes over in the same run, and in later ones. Either safeguard alone is covered by the other.
        "the next relay takes over",
        "failover",
        "a relay takes what is due",
        [
            Edit("worker/smtp/run.py", "        if self._route() is None:\n", "        if self._routes:\n"),
            Edit("worker/smtp/failover.py", "relay.is_down, relay.trouble = True,", "_, relay.trouble = True,"),
        ],
    ),
    Mutation(
        "the first relay is used again",
        "failover",
        "not used again",
        [Edit("worker/smtp/mailer.py", "if better is not None and self._pools[better].has_room:", "if False:")],
    ),
    Mutation(
        "poison is put aside",
        "flood",
        "every event is acknowledged",
        [Edit("worker/processes/listener.py", "self._stream.dead_letters.bury(batch.dead)", "0")],
    ),
    Mutation(
        "nobody is rescued because the database was away",
        "away",
        "nobody had died",
        [Edit("worker/store/sweep.py", "swept_at BETWEEN stockbell_now(-:fresh) AND stockbell_now(:fresh)", "true")],
    ),
    Mutation(
        "a host that only reads is passed over",
        "standby",
        "lost",
        [Edit("worker/store/postgres.py", '.fetchone() == ("on",):', ".fetchone() == ():")],
    ),
    Mutation(
        "a lease is renewed by the database's clock",
        "clock-behind",
        "lost",
        [
            Edit(
                "worker/store/owners.py",
                "seen_at > stockbell_now(-:lease)",
                "seen_at > now() - make_interval(secs => :lease)",
            )
        ],
    ),
    Mutation(
        "a lease is measured by the database's clock",
        "clock-ahead",
        "stuck|sent by somebody else",
        [
            Edit(
                "worker/store/sweep.py",
                "NOT o.seen_at BETWEEN stockbell_now(-:lease) AND stockbell_now(:lease)",
                "o.seen_at < now() - make_interval(secs => :lease)",
            )
        ],
    ),
    Mutation(
        "the victim of a deadlock is run again",
        "deadlocks",
        "lost",
        [Edit("worker/store/errors.py", "        return Contended(words)\n", "        raise error\n")],
    ),
    Mutation(
        "seats are given back by who holds the item",
        "crossed",
        "deadlocks",
        [Edit("worker/store/seats.py", "    ids = {seat.item_id for seat in held}\n", "    ids = set[UUID]()\n")],
        is_short=False,
    ),
    Mutation(
        "the seats of those who are rescued are given back",
        "waves-killed",
        "seats of wave . of .* are gone",
        [
            Edit(
                "worker/store/sweep.py",
                "[row for row in rows if row.failure_code !=",
                "[row for row in () if row.failure_code !=",
            )
        ],
    ),
    Mutation(
        "the seats of those who were refused are given back",
        "waves-refused",
        "seats of wave . of .* are gone",
        [
            Edit(
                "worker/store/recording.py",
                "for request_id, seat in seated.items() if",
                "for request_id, seat in () if",
            )
        ],
    ),
    Mutation(
        "a wave begins so long after the last seat of the one before",
        "waves-away",
        "began too early",
        [Edit("worker/domain/ledger.py", "timedelta(seconds=policies.wave_seconds)", "timedelta(0)")],
    ),
    Mutation(
        "the seats of those who are released are given back",
        "waves-restarted",
        "seats of wave . of .* are gone",
        [Edit("worker/store/recording.py", "not in lost), *ends.released]", "not in lost)]")],
    ),
    Mutation(
        "who starts waits for the database",
        "no-connections",
        "has said so",
        [
            Edit(
                "worker/processes/startup.py",
                "            if pause == FIRST_PAUSE:",
                "            if pause:\n                raise",
            )
        ],
    ),
    Mutation(
        "a full disk is a database that is away",
        "disk-full",
        "have said so",
        [
            Edit(
                "worker/store/errors.py",
                '        return DatabaseAway(f"{_file(engine)}: {_open_problem(_file(engine)) or words}")',
                "        raise error",
            )
        ],
    ),
    Mutation(
        "a migration takes all its locks at once",
        "schema",
        "deadlocks",
        [Edit("worker/migrations/__init__.py", "        _lock_tables(c)\n", "        pass\n")],
    ),
    Mutation(
        "what the relay took is recorded as told",
        "control",
        "the relay took a mail, but",
        [
            Edit(
                "worker/delivery/slice.py",
                "self._record(claim, TOLD, outcome)",
                'self._record(claim, Later(3600.0, claim.tries, None, ""), outcome)',
            )
        ],
    ),
    Mutation(
        "a Redis that says nothing is given up",
        "half-open",
        "lost",
        [Edit("worker/stream/event_stream.py", "timeout=TIMEOUT_SECONDS,", "timeout=None,")],
    ),
    Mutation(
        "the reply to a mail is waited for, though a host is cut off",
        "hosts",
        "twice for no reason",
        [Edit("worker/smtp/rules.py", "final: float = 600", "final: float = 4")],
    ),
    Mutation(
        "the rescue, if a host is off the network",
        "hosts-unplugged",
        "its claims are rescued",
        [_NO_RESCUE],
    ),
    Mutation(
        "a mail is forgotten once it is recorded",
        "memory-mails",
        "too many",
        [
            Edit(
                "worker/delivery/slice.py",
                "        taken = self._in_flight.pop(mail)\n",
                "        taken = self._in_flight.pop(mail)\n"
                "        self._line.recorder.__dict__.setdefault('mails', []).append(mail.content)\n",
            )
        ],
    ),
    Mutation(
        "what a lost connection left in the loop is taken back",
        "memory-reconnects",
        "too many",
        [Edit("worker/queue/transport.py", "            _let_go(*Transport._last)\n", "            pass\n")],
        is_short=False,
    ),
    Mutation(
        "no more is read than is committed",
        "slow-database",
        "read and not committed",
        [Edit("worker/processes/listener.py", "self._settle()\n        finally:", "pass\n        finally:")],
    ),
    Mutation(
        "the others of a mail name it",
        "digest-killed",
        "were one about",
        [Edit("worker/store/recording.py", "claim.mail_id if claim.mail_id in told else None", "None")],
    ),
    Mutation(
        "what the relay says of a mail is logged for all of its requests",
        "digest-refused",
        "not in the attempt log",
        [
            Edit(
                "worker/delivery/recorder.py",
                "        ends.log.extend(_tried(claim, verdict, outcome))",
                "        ends.log.extend(_tried(claim, verdict, outcome) if claim.mail_id is None else ())",
            )
        ],
    ),
    Mutation(
        "a row is rescued so many times, and no more",
        "poison-row",
        "deaths by one row",
        [Edit("worker/store/sweep.py", " AND r.rescues < :most_rescues AS is_unsent", " AS is_unsent")],
    ),
)


def main() -> int:
    options = _options()
    chosen = [each for each in MUTATIONS if options.only is None or options.only in each.name]
    width = max(len(each.name) for each in chosen)
    green = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutation, found in zip(chosen, pool.map(partial(_breaches, seed=options.seed), chosen), strict=True):
            why = next((breach for breach in found if re.search(mutation.words, breach)), None)
            green += why is None
            verdict = "red  " if why else "GREEN"
            why = why or f"{len(found)} other breaches{', as: ' if found else ''}{''.join(found[:1])}"
            sys.stdout.write(f"{verdict}  {mutation.name:{width}}  {mutation.scenario:20}  {why}\n")
            sys.stdout.flush()
    return 1 if green else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutations", description=__doc__)
    parser.add_argument("--only", metavar="WORDS", help="those with these words in their name")
    parser.add_argument("--seed", default=os.environ.get("SEED") or "1", help="default: SEED, else 1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="scenarios at a time; default: one a core")
    return parser.parse_args()


def _breaches(mutation: Mutation, seed: str) -> list[str]:
    """Returns what the scenario finds in the program without this safeguard."""
    with tempfile.TemporaryDirectory(prefix="stockbell-mutation-") as name:
        tree = Path(name)
        tree.chmod(0o755)  # PostgreSQL may have to run as another user
        for each in COPIED:
            source = ROOT / each
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / each)
        for edit in mutation.edits:
            edit.apply(tree)
        answer = tree / "answer.json"
        command = [sys.executable, "-m", "tests.faults", "--only", mutation.scenario, "--seed", seed]
        done = subprocess.run(
            [*command, *["--short"] * mutation.is_short, "--patience", str(PATIENCE), "--json", answer],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
        )
        if not answer.exists():
            say(done.stderr[-2000:])
            raise SystemExit(f"{mutation.name}: the scenario did not come to its end")
        return [breach for result in json.loads(answer.read_text()) for breach in result["findings"]["breaches"]]


if __name__ == "__main__":
    sys.exit(main())
