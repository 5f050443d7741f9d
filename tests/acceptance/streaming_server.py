"""A web process with an endless stream, which the tests stop. Prints the port."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import cast

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from config.settings import Settings
from worker.processes.bootstrap import Parts
from worker.web import server
from worker.web.context import Context

context = Context(Parts(Settings(database_url=sys.argv[1])))
config = server._config(context.parts, context, ())
app = cast("FastAPI", config.app)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"."
        await asyncio.sleep(0.05)


@app.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(endless())


listener = server._listening("127.0.0.1", 0)
sys.stdout.write(f"{listener.getsockname()[1]}\n")
sys.stdout.flush()
server.Server(config, context).run([listener])
