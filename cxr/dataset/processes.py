"""The processes of one job, which accelerate connects; a plain start is a job of one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate.utils import broadcast

from cxr.models.devices import shared_state
from cxr.request.errors import CxrError

T = TypeVar("T")


class Processes:
    """What a process has to know about the others of its job.

    Attributes:
        rank: number of this process, from 0.
        count: of all processes.
    """

    def __init__(self) -> None:
        self._state = shared_state()
        self.rank, self.count = int(self._state.process_index), int(self._state.num_processes)

    def first_does(self, work: Callable[[], T]) -> T | None:
        """Have the first process do something while the others wait.

        Returns:
            Its result in the first process, None in the others.
        Raises:
            CxrError: in the first process, if the work raised it.
            OtherProcessFailed: in the others.
        """
        result, error = None, None
        if self.rank == 0:
            try:
                result = work()
            except CxrError as raised:
                error = raised
        if self.count > 1:
            failed = broadcast(torch.tensor([int(error is not None)], device=self._state.device))
            if self.rank > 0 and bool(failed.item()):
                raise OtherProcessFailed
        if error is not None:
            raise error
        return result

    def wait(self) -> None:
        """Wait until all processes have got here.

        Raises:
            OtherProcessFailed: one has ended before.
        """
        if self.count > 1:
            try:
                self._state.wait_for_everyone()
            except RuntimeError as error:  # torch's for a connection that was closed
                raise OtherProcessFailed from error


class OtherProcessFailed(Exception):  # noqa: N818  it is no error of this process
    """Another process has met an error, and has said so."""
