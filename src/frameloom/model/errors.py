"""The errors of Frameloom, sorted by who must act.

Every error that a user can meet derives from `FrameloomError`. Messages name the thing (camera, stream, parameter),
what was read and what is allowed; they never hold a camera's URL. Translation to exit codes and HTTP status belongs
to `frameloom.cli` and `frameloom.server`.
"""

from __future__ import annotations


class FrameloomError(Exception):
    """Base of all errors raised on purpose."""


class TryAgain(FrameloomError):
    """It may work later without anybody changing anything: the program retries by itself."""


class NeedsPerson(FrameloomError):
    """It cannot work until a person changes something; the message says what."""


class PeerError(FrameloomError):
    """The other side of a connection broke the protocol; the connection is closed, nothing else is harmed."""


class SourceLost(TryAgain):
    """A camera or file stopped giving packets: connection refused or closed, time-out, broken data."""


class SourceMisconfigured(NeedsPerson):
    """A camera answered that it will never work this way: wrong password, no such path, unknown codec."""


class ParameterError(NeedsPerson):
    """A value does not fit a declared parameter."""


class SiteError(NeedsPerson):
    """`site.yaml`, or a change of it, is not valid."""


class CommandError(FrameloomError):
    """A command was refused. `code` is stable and meant for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[CommandError], tuple[str, str]]:
        return type(self), (self.code, str(self))


class StreamEnded(FrameloomError):
    """The stream came to its proper end, like a film that was played to its last frame."""


class StreamBusy(NeedsPerson):
    """Another live process already publishes this stream, or already runs this site."""


class OutOfMemory(TryAgain):
    """The shared memory for frames could not be had; nothing was overwritten."""
