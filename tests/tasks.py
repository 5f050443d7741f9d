"""The asyncio tasks that the servers of the tests run in, and what those leave."""

import asyncio
import socket
from collections.abc import Collection, Iterable


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels the tasks, and waits until they have ended."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


async def close(accepted: Iterable[socket.socket]) -> None:
    """Closes the sockets of connections whose tasks have ended."""
    for _ in range(10):  # asyncio releases a socket some turns of its loop later
        await asyncio.sleep(0)
    for each in accepted:
        each.close()
