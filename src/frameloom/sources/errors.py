"""What FFmpeg and the system say, put into `SourceLost` (try again) or `SourceMisconfigured` (a person must act).

Messages name the source, never its URL, and say what to change. How long to wait before the next try belongs to
`frameloom.sources.reconnect`.
"""

from __future__ import annotations

import errno
from typing import Any

import av.error
from av.error import FFmpegError

from frameloom.model.errors import FrameloomError, SourceLost, SourceMisconfigured

from .libav_log import scrub
from .settings import Kind, SourceSettings
from .v4l2 import describe

_UNREACHABLE = {
    errno.ECONNREFUSED: "the connection was refused: is it on, and is the port right?",
    errno.EHOSTUNREACH: "its host cannot be reached",
    errno.ENETUNREACH: "its network cannot be reached",
    errno.ECONNRESET: "it closed the connection",
    errno.ECONNABORTED: "it closed the connection",
    errno.EPIPE: "it closed the connection",
    errno.EIO: "its host is not known, or the connection broke",
    errno.EADDRNOTAVAIL: "its host cannot be reached",
}
_NOT_UNDERSTOOD = {
    Kind.RTSP: "what answers does not speak RTSP, or broke off: is the port right?",
    Kind.HTTP: "what answers does not send video, or broke off: are port and path right?",
    Kind.TCP: "what answers does not send video of this format, or broke off: are port and format right?",
    Kind.LISTEN: "what it sends is not video of this format, or breaks off: is format right?",
}
_NO_SUCH_PATH = {
    Kind.RTSP: "there is nothing at this path (404): look up the stream's path in the camera's manual",
    Kind.HTTP: "there is nothing at this path (404): correct the path of the URL",
}


def lost(name: str, what: str) -> SourceLost:
    """The error for a trouble that may pass: 'camera 'hall': no answer for 10 s'."""
    return SourceLost(f"{name!r}: {what}")


def misconfigured(name: str, what: str) -> SourceMisconfigured:
    """The error for a trouble that stays until a person acts."""
    return SourceMisconfigured(f"{name!r}: {what}")


def on_open(name: str, settings: SourceSettings, error: Exception, waited_s: float) -> FrameloomError:
    """The error to raise for `error`, met `waited_s` seconds after the opening of a source began."""
    match settings.kind:
        case Kind.FILE:
            return _file_error(name, settings, error)
        case Kind.DEVICE:
            return _device_error(name, settings, error)
        case _:
            return _network_error(name, settings, error, waited_s)


def on_read(name: str, settings: SourceSettings, error: Exception) -> FrameloomError:
    """The error to raise for `error`, met while packets were read from a source that had opened."""
    if isinstance(error, av.error.ExitError | TimeoutError):
        return lost(name, f"no picture for {settings.silence_s:g} s")
    if settings.kind is Kind.DEVICE:
        return _device_error(name, settings, error)
    number = error.errno if isinstance(error, OSError | FFmpegError) else None
    return lost(name, _UNREACHABLE.get(number or 0) or _said(settings, error))


def _network_error(name: str, settings: SourceSettings, error: Exception, waited_s: float) -> FrameloomError:
    refusal = _refusal(settings, error)
    if refusal is not None:
        return misconfigured(name, refusal)
    # RTSP reports an interrupted handshake as invalid data: the clock knows better.
    if isinstance(error, av.error.ExitError | TimeoutError) or waited_s >= 0.95 * settings.connect_s:
        return lost(name, f"no answer for {settings.connect_s:g} s")
    if isinstance(error, av.error.HTTPServerError | av.error.HTTPTooManyRequestsError):
        return lost(name, "it says that it is busy or in trouble (429 or 5xx)")
    if isinstance(error, av.error.InvalidDataError | av.error.EOFError):
        return lost(name, _NOT_UNDERSTOOD[settings.kind])
    number = error.errno if isinstance(error, OSError | FFmpegError) else None
    return lost(name, _UNREACHABLE.get(number or 0) or _said(settings, error))


def _refusal(settings: SourceSettings, error: Exception) -> str | None:
    """What a person must change, or None if trying again may help."""
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return "it refused user name or password (401/403): correct username and password"
        case av.error.HTTPNotFoundError():
            return _NO_SUCH_PATH[settings.kind]
        case av.error.HTTPClientError() if not isinstance(error, av.error.HTTPTooManyRequestsError):
            return f"it refused the request ({_said(settings, error)}): correct URL or transport"
        case av.error.ProtocolNotFoundError() | av.error.OptionNotFoundError() | av.error.ArgumentError():
            return f"it cannot be opened this way ({_said(settings, error)}): correct URL or options"
        case FFmpegError(errno=errno.EPROTONOSUPPORT):
            return f"it does not offer RTSP over {settings.transport}: change transport"
    return None


def _file_error(name: str, settings: SourceSettings, error: Exception) -> FrameloomError:
    path = settings.path
    match error:
        case FileNotFoundError():
            return misconfigured(name, f"no such file: {path}")
        case IsADirectoryError():
            return misconfigured(name, f"a folder, not a video: {path}")
        case PermissionError():
            return misconfigured(name, f"no permission to read {path}")
        case av.error.InvalidDataError() | av.error.EOFError():
            return misconfigured(name, f"not a video that can be read, or cut off: {path}")
    return misconfigured(name, f"cannot be opened ({_said(settings, error)}): {path}")


def _device_error(name: str, settings: SourceSettings, error: Exception) -> FrameloomError:
    path = settings.device
    number = error.errno if isinstance(error, OSError | FFmpegError) else None
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO):
        return lost(name, f"{path} has gone: is the camera plugged in?")
    if number == errno.EBUSY:
        return lost(name, f"{path} is in use by another program")
    if isinstance(error, PermissionError):
        return misconfigured(name, f"{path}: {describe(path).problem or 'no permission'}")
    if number == errno.EINVAL:
        return misconfigured(
            name, f"{path} does not offer this format, size and rate: see `frameloom devices`"
        )
    if number == errno.ENOTTY:
        return misconfigured(name, f"{path} is not a video device")
    return lost(name, f"{path}: {_said(settings, error)}")


def _said(settings: SourceSettings, error: Exception) -> str:
    """What FFmpeg or the system said, in one line without secrets."""
    said = error.strerror if isinstance(error, OSError | FFmpegError) else str(error)
    log: Any = error.log if isinstance(error, FFmpegError) else None  # (level, part, line)
    texts = [said or type(error).__name__, *log[2:]] if log else [said or type(error).__name__]
    return scrub("; ".join(texts), settings.secrets)
