"""A DNS server in this process, with records as a test says."""

import socketserver
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from dns.rdatatype import RdataType

from worker.dns_records import NameServer

SILENT = "silent"
FAILS = "SERVFAIL"


class DnsServer:
    """Answers over UDP. `records` has texts by "NAME TYPE"; SILENT and FAILS by "NAME". Others do not exist."""

    def __init__(self, records: Mapping[str, Sequence[str]], troubles: Mapping[str, str] | None = None) -> None:
        self._records = {name.lower(): list(texts) for name, texts in records.items()}
        self._troubles = troubles or {}
        self.asked: list[str] = []
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                octets, server = self.request
                if (answer := outer._answer(octets)) is not None:
                    server.sendto(answer, self.client_address)

        self._server = socketserver.UDPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def place(self) -> NameServer:
        return NameServer("127.0.0.1", self._server.server_address[1])

    def _answer(self, octets: bytes) -> bytes | None:
        query = dns.message.from_wire(octets)
        [question] = query.question
        name = str(question.name).rstrip(".").lower()
        key = f"{name} {RdataType(question.rdtype).name}".lower()
        self.asked.append(key)
        trouble = self._troubles.get(name)
        if trouble == SILENT:
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if trouble == FAILS:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif key in self._records:
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", question.rdtype, *self._records[key]))
        elif not any(each.startswith(f"{name} ") for each in self._records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
