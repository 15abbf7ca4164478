"""nbclient's client, which executes a notebook in a kernel, without its rare endless wait."""

import asyncio

from nbclient import NotebookClient
from nbformat import NotebookNode


class Client(NotebookClient):
    """NotebookClient that finds a reply also where its notification was lost.

    A widget makes nbclient send a message while it waits for the reply on the same socket. Sending
    reads the socket's events. ZeroMQ notifies once: a reply that arrived just then is only found at
    the timeout.
    """

    async def async_execute_cell(self, *args, **options) -> NotebookNode:
        waking = asyncio.create_task(self.wake())
        try:
            return await super().async_execute_cell(*args, **options)
        finally:
            waking.cancel()

    async def wake(self) -> None:
        while True:
            await asyncio.sleep(1)
            await self.kc.shell_channel.socket.poll(1)  # milliseconds; 0 would wake no one
