"""Waiting for what a test wants to see, for as long as a busy machine may need."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

PATIENCE_SECONDS = 60.0


async def _nap() -> None:
    await asyncio.sleep(0.01)


async def until(
    holds: Callable[[], object],
    nap: Callable[[], Awaitable[object]] = _nap,
    told: Callable[[], str] = lambda: "it never came",
) -> None:
    """Wait until something holds; AssertionError with what is `told` if it never does."""
    deadline = monotonic() + PATIENCE_SECONDS
    while not holds():
        assert monotonic() < deadline, told()
        await nap()
