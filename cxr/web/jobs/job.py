"""One job: what was asked, what is known about it, and who follows it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, overload

from cxr.web.server.visitors import Visitor

Facts: TypeAlias = dict[str, Any]  # the part of a result that is not a file: JSON, for programs
OVER = ("finished", "stopped")
PAGE_REST_S = 0.2  # between two states that a page shows
NO_STATES: Generator[Any, None, None] = (None for _ in range(0))


@dataclass(frozen=True)
class Waiting:
    """The place of a job whose turn has not come yet.

    Args:
        ahead: jobs that have their turns before it.
        seconds: until its turn, as far as they can be estimated.
    """

    ahead: int
    seconds: float | None = None


class State(Protocol):
    """What is known about a job so far."""

    @property
    def stage(self) -> str:
        """How far it is; one of `OVER` in the last state."""


OrderT = TypeVar("OrderT")
StateT = TypeVar("StateT", bound=State)


@dataclass(eq=False)
class Job(Generic[OrderT, StateT]):
    """Work for the model, what is known about it, and the wish to end it.

    Args:
        visitor: who asked; whoever returns with the id takes their place.
        num_steps: denoising steps of the work, as far as they are known.
        id: known to the page that asked, and to nobody else.
        halt: once set, the work that is under way ends within one denoising step.
        is_stopped: the job itself is to end, and not only its turn.
        is_abandoned: nobody wants its results.
        others_wait: whether other jobs wait for the model.
        drop: takes it out of the queue, and says whether it waited there.
        waiting: its place in the queue, before its first state.
        state: the newest one, None before the first.
        error: what it ended with instead of a last state.
        heard_s: when somebody last listened to it.
        began_s: when its turn began; None while it waits.
    """

    order: OrderT
    visitor: Visitor = field(default_factory=Visitor)
    num_steps: int = 0
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    halt: threading.Event = field(default_factory=threading.Event)
    is_stopped: bool = False
    is_abandoned: bool = False
    has_ended: bool = False
    is_followed: bool = False
    others_wait: Callable[[], bool] = lambda: False
    drop: Callable[[AnyJob], bool] = lambda job: False
    waiting: Waiting | None = None
    state: StateT | None = None
    error: BaseException | None = None
    heard_s: float = field(default_factory=time.monotonic)
    began_s: float | None = None
    states: Generator[StateT, None, None] = field(default=NO_STATES, repr=False)
    # Gradio keeps the current request in context variables, and ZeroGPU reads it there.
    context: contextvars.Context = field(default_factory=contextvars.copy_context, repr=False)
    _followers: list[Callable[[], None]] = field(default_factory=list, init=False, repr=False)

    def stop(self) -> bool:
        """Ask it to end within one denoising step; what is finished is kept. Returns whether it never began."""
        self.is_stopped = True
        self.halt.set()
        return self.drop(self)

    def abandon(self) -> None:
        """End it as soon as possible; nobody wants its results."""
        self.is_abandoned = True
        self.stop()

    def seconds_left(self, step_s: float | None) -> float | None:
        """Seconds that it still takes, by its own progress or by what a step takes; None if that is not known."""
        left: float | None = getattr(getattr(self.state, "progress", None), "remaining_s", None)
        if left is None and step_s is not None and self.num_steps:
            spent = time.monotonic() - self.began_s if self.began_s else 0.0
            left = max(0.0, self.num_steps * step_s - spent)
        return left

    @overload
    def follow(self) -> AsyncGenerator[StateT, None]: ...

    @overload
    def follow(self, *, on_page: Literal[True]) -> AsyncGenerator[StateT | Waiting, None]: ...

    async def follow(self, *, on_page: bool = False) -> AsyncGenerator[StateT | Waiting, None]:
        """Every state from now on; of several that arrive at once, only the newest.

        Args:
            on_page: give a few states a second at most, and before the first one the job's place in the queue; whoever
                closes this may come back to the job, while otherwise closing it abandons the job.
        Raises:
            CxrError: the job ended with it.
        """
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        seen: StateT | Waiting | None = None

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(news.set)

        self.is_followed = True
        self._followers.append(wake)
        try:
            while True:
                news.clear()
                has_ended = self.has_ended  # before the state: the last one is set before the end
                state = self.waiting if on_page and self.state is None and not has_ended else self.state
                if state is not None and state is not seen:
                    seen = state
                    yield state
                if has_ended:
                    break
                await news.wait()
                if on_page:
                    await self._rest()
            if self.error is not None:
                raise self.error
        finally:
            self._followers.remove(wake)
            self.heard_s = time.monotonic()
            if not self.has_ended and not on_page:
                self.abandon()

    async def _rest(self) -> None:
        """Leave a page the time to show a state, unless the job ends: it would fall behind and show what is over."""
        until = time.monotonic() + PAGE_REST_S
        while not self.has_ended and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, PAGE_REST_S / 5))

    def publish(self, state: StateT | None, *, has_ended: bool = False) -> None:
        """Tell whoever follows it of a new state."""
        self.state, self.has_ended = state, has_ended
        self.wake()

    def wake(self) -> None:
        """Let whoever follows it look at it again."""
        for wake in [*self._followers]:
            wake()


AnyJob: TypeAlias = Job[Any, Any]
