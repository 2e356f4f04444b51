"""Asks a process of its own to look at cameras: no codec is loaded in here, and nothing that a camera does harms us.

The process is `python -m frameloom.workers.probe`, which limits itself; that it ends in time is seen to here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from frameloom.model.errors import TryAgain

COMMAND = (sys.executable, "-P", "-m", "frameloom.workers.probe")
LONGEST_S = 15.0


class NoAnswer(TryAgain):
    """The process that looked at it ended without an answer, or took too long."""


async def ask(
    question: Mapping[str, Any], timeout_s: float = LONGEST_S, command: Sequence[str] = COMMAND
) -> dict[str, Any]:
    """What `frameloom.workers.probe` answers; raises `NoAnswer`.

    The process has ended when this returns, raises or is cancelled. What is asked travels through a pipe: it may hold
    a password, and arguments are for everybody to see.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate(json.dumps({**question, "longest_s": timeout_s}).encode())
    except TimeoutError:
        raise NoAnswer(f"no answer within {timeout_s:g} s") from None
    finally:
        await _end(process)
    return _read(output)


async def _end(process: asyncio.subprocess.Process) -> None:
    """The process and whatever it has started, also where we are being cancelled."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


def _read(output: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        answer = json.loads(output)
        if isinstance(answer, dict):
            return answer
    raise NoAnswer("the process that looked at it ended without an answer: it took too much time or memory")
