"""A web process with endless streams, which the tests stop. Prints the port, and the secret of an admin's session."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import cast

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from config.settings import Settings
from worker.domain.admins import Role
from worker.processes.bootstrap import Parts
from worker.store import admins
from worker.web import server
from worker.web.app import Part
from worker.web.context import Context

context = Context(Parts(Settings(database_url=sys.argv[1])))
config = server._config(context.parts, context, [Part.ADMIN])
app = cast("FastAPI", config.app)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"."
        await asyncio.sleep(0.05)


@app.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(endless())


listener = server._listening("127.0.0.1", 0)
secret = context.database.write(admins.open_session, "ada", Role.ADMIN)
sys.stdout.write(f"{listener.getsockname()[1]} {secret}\n")
sys.stdout.flush()
server.Server(config, context).run([listener])
