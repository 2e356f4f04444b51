"""What the keys order: from a worker and a key to the command that is posted to the supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from frameloom.model.errors import CommandError
from frameloom.model.names import packets_of


class Order(NamedTuple):
    """A command of the control protocol, its fields, and what it is in words."""

    command: str
    fields: dict[str, Any]
    words: str


def switch(verb: str, name: str) -> Order:
    """`verb`: 'start', 'stop' or 'restart'."""
    return Order(verb, {"names": [name]}, f"{verb} {name}")


def record(snapshot: Mapping[str, Any], name: str) -> Order:
    """Begin to record where nothing is recorded, else end it: of a camera, or of a recorder itself.

    Raises `CommandError` where there is nothing that could record it.
    """
    recorder = recorder_of(snapshot, name)
    worker = snapshot["workers"][recorder]
    info = (worker.get("report") or {}).get("info", {})
    is_on = worker["state"] != "idle" and info.get("recording", True)
    if info.get("mode") == "command" and worker["state"] != "idle":
        verb = "stop" if is_on else "start"
        return Order("tell", {"name": recorder, "tell": verb, "args": {}}, _words(is_on, recorder))
    verb = "stop" if worker["state"] != "idle" else "start"
    return Order(verb, {"names": [recorder]}, _words(verb == "stop", recorder))


def recorder_of(snapshot: Mapping[str, Any], name: str) -> str:
    """The recorder `name`, or the first one of the camera `name`; raises `CommandError`."""
    workers = snapshot["workers"]
    if workers[name]["kind"] == "recorder":
        return name
    for each, worker in workers.items():
        if worker["kind"] == "recorder" and {name, packets_of(name)} & set(worker["streams"]):
            return str(each)
    raise CommandError(
        "refused",
        f"nothing records {name!r}: add a sink of kind record for it to site.yaml",
    )


def _words(was_on: bool, recorder: str) -> str:
    return f"{recorder}: recording ends" if was_on else f"{recorder}: recording begins"
