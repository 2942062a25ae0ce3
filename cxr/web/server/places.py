"""Places for what is sent: how many requests are held in memory at a time, of all visitors and of one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator

from cxr.web.server.refusal import Refusal

MAX_AT_ONCE = 16
MAX_AT_ONCE_OF_ONE = 2
MAX_WAIT_S = 10.0


class Places:
    """Places that requests hold for a while; one that finds none waits for a moment."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def take(self, address: str) -> AsyncGenerator[None, None]:
        """Hold a place.

        Args:
            address: of the visitor.
        Raises:
            Refusal: none became free within `MAX_WAIT_S`.
        """
        async with self._changed:
            try:
                async with asyncio.timeout(MAX_WAIT_S):
                    await self._changed.wait_for(lambda: self._is_free(address))
            except TimeoutError as error:
                raise Refusal(503, "too many uploads at the same time; try again in a minute") from error
            self._taken[address] += 1
        try:
            yield
        finally:
            async with self._changed:
                self._taken[address] -= 1
                self._taken += Counter()  # forgets those who hold none
                self._changed.notify_all()

    def _is_free(self, address: str) -> bool:
        return self._taken.total() < MAX_AT_ONCE and self._taken[address] < MAX_AT_ONCE_OF_ONE
