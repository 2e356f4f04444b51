"""The control socket: good clients, hostile ones, and those that just stand there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from frameloom.control import listener
from frameloom.control.client import ControlClient, SiteNotRunning
from frameloom.control.lock import socket_path
from frameloom.model.errors import CommandError, SiteError
from frameloom.model.worker import WorkerSpec

PATIENCE_S = 60.0


class Raw:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            found: dict[str, Any] = json.loads(await self.reader.readline())
            return found

    async def end(self) -> bytes:
        """What still comes until the other side closes."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def raw(limit: int = 1 << 24) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_unix_connection(str(socket_path("test")), limit=limit)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


async def serves(client: ControlClient) -> bool:
    """Whether a good client is still served."""
    return bool(await client.command("ping", timeout_s=PATIENCE_S) == {"site": "test"})


async def test_the_socket_is_for_its_owner_only(listening: Any, spec: Any) -> None:
    async with listening(spec("Plain")):
        found = socket_path("test").stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
    assert not socket_path("test").exists()


async def test_commands_by_socket(listening: Any, spec: Any) -> None:
    async with listening(spec("Counting", "hall")) as s, await ControlClient.connect("test") as client:
        await s.until_state("running", "hall")
        result = await client.command("set", name="hall", values={"step": "4"})
        assert result == {"name": "hall", "values": {"step": 4.0}, "live": True, "stored": False}
        assert (await client.command("tell", name="hall", tell="echo", args={"a": 1})) == {"a": 1}
        for command, word in [
            ("stop", "stopped"),
            ("start", "started"),
            ("restart", "restarted"),
            ("clear", "had no error"),
        ]:
            result = await client.command(command, names=["hall"])
            assert result["workers"]["hall"]["did"] == word
        status = await client.command("status")
        assert status["workers"]["hall"]["state"] in ("starting", "running")
        logs = await client.command("logs", name="hall", lines=1)
        assert logs["name"] == "hall"
        assert logs["lines"][0].keys() == {"seq", "at_utc_ns", "text"}


async def test_refusals_have_a_code_and_a_message(listening: Any, spec: Any) -> None:
    async with listening(spec("Counting", "hall")) as s, await ControlClient.connect("test") as client:
        await s.until_state("running", "hall")
        for code, says, command, fields in [
            ("unknown-worker", "there are: hall", "start", {"names": ["hell"]}),
            ("unknown-worker", "there are: hall", "logs", {"name": "hell"}),
            ("refused", "from 1 to 100", "set", {"name": "hall", "values": {"step": 0}}),
            ("unknown-command", "allowed: ping", "nonsense", {}),
            ("invalid", "lines", "logs", {"name": "hall", "lines": "many"}),
            ("unsupported", "no file", "reload", {}),
            ("unsupported", "its program", "shutdown", {}),
        ]:
            with pytest.raises(CommandError, match=says) as caught:
                await client.command(command, **fields)
            assert caught.value.code == code


async def test_a_command_that_takes_too_long_is_answered_and_goes_on(listening: Any, spec: Any) -> None:
    async with listening(spec("Counting")) as s, await ControlClient.connect("test") as client:
        await s.until_state("running")
        os.kill(s.pid(), signal.SIGSTOP)
        with pytest.raises(CommandError, match="it may still take effect") as caught:
            await client.command("set", name="w", values={"step": 50}, timeout_s=0.2)
        assert caught.value.code == "timeout"
        os.kill(s.pid(), signal.SIGCONT)
        await s.until(lambda: s.supervisor._worker("w").spec.params == {"step": 50})


async def test_a_slow_command_does_not_hold_up_others_of_its_connection(listening: Any, spec: Any) -> None:
    async with listening(spec("HangsInInit")) as s, await ControlClient.connect("test") as client:
        await s.until(lambda: s["w"]["report"])
        slow = asyncio.create_task(client.command("set", name="w", values={"a": 1}, timeout_s=PATIENCE_S))
        assert await serves(client)
        assert not slow.done()
        await client.command("stop", names=["w"])
        with pytest.raises(CommandError, match="ended before it answered"):
            await slow


async def test_commands_under_way_are_bounded(
    listening: Any, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frameloom.control.supervisor.MOST_TASKS", 5)
    async with listening(spec("HangsInInit")) as s, await ControlClient.connect("test") as client:
        await s.until(lambda: s["w"]["report"])
        for number in range(5):
            with pytest.raises(CommandError, match="no result within"):
                await client.command("set", name="w", values={"a": number}, timeout_s=0.01)
        with pytest.raises(CommandError, match="5 commands under way"):
            await client.command("set", name="w", values={"a": 1}, timeout_s=0.01)


async def test_reload_applies_the_file_or_says_what_is_wrong_with_it(listening: Any, spec: Any) -> None:
    files: list[Any] = [
        [spec("Plain", "new")],
        SiteError("site.yaml line 3: read 'camras', allowed: cameras"),
    ]

    def reload() -> list[WorkerSpec]:
        found = files.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async with (
        listening(spec("Plain", "old"), reload=reload) as s,
        await ControlClient.connect("test") as client,
    ):
        result = await client.command("reload")
        assert (result["added"], result["removed"]) == (["new"], ["old"])
        await s.until_state("running", "new")
        with pytest.raises(CommandError, match="line 3") as caught:
            await client.command("reload")
        assert caught.value.code == "site-error"
        assert s.state("new") == "running"


# -- subscribing --


async def test_watch_gives_a_snapshot_then_changes(listening: Any, spec: Any) -> None:
    async with (
        listening(spec("Plain", "a"), spec("Plain", "b")) as s,
        await ControlClient.connect("test") as client,
    ):
        async with asyncio.timeout(PATIENCE_S):
            states = []
            watch = client.watch()
            async for snapshot in watch:
                states.append(snapshot["workers"]["a"]["state"])
                if states[-1] == "running":
                    break
            assert states[0] == "starting"
            assert snapshot.keys() == s.supervisor.snapshot().keys()
            await s.supervisor.apply([spec("Plain", "a")])
            async for snapshot in watch:
                if "b" not in snapshot["workers"]:
                    break
            await watch.aclose()


async def test_watch_ends_with_the_site(listening: Any, spec: Any) -> None:
    async with listening(spec("Plain")):
        client = await ControlClient.connect("test")
        watch = client.watch()
        await anext(watch)
    async with asyncio.timeout(PATIENCE_S):
        async for _ in watch:
            pass
        with pytest.raises(SiteNotRunning, match="site 'test' is not running; start it with: frameloom up"):
            await client.command("ping")
        await client.close()


async def test_a_subscriber_that_reads_nothing_gets_the_newest_when_it_reads(
    listening: Any, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frameloom.control.feed.SOONEST_S", 0)
    async with (
        listening(spec("Counting")) as s,
        raw(limit=1) as slow,
        await ControlClient.connect("test") as client,
    ):
        await s.until_state("running")
        await slow.send(b'{"command": "subscribe"}\n')
        while not s.supervisor._subscriptions:
            assert await serves(client)
        (subscription,) = s.supervisor._subscriptions
        blocked = 0
        while blocked < 20:  # the kernel keeps no more for it
            subscription.mark("w")
            assert await serves(client)
            blocked = blocked + 1 if subscription._marked else 0
        for _ in range(10_000):
            subscription.mark("w")
        assert list(subscription._marked) == ["w"]
        await client.command("stop", names=["w"])
        slow.reader._limit = 1 << 24  # type: ignore[attr-defined]
        while (answer := await slow.answer()).get("ok") or answer["changes"]["workers"]["w"][
            "state"
        ] != "idle":
            pass


async def test_a_second_subscription_on_one_connection_is_refused(listening: Any, spec: Any) -> None:
    async with listening(spec("Plain")), raw() as client:
        await client.send(b'{"id": 1, "command": "subscribe"}\n')
        assert (await client.answer())["ok"] is True
        await client.send(b'{"id": 2, "command": "subscribe"}\n')
        while (answer := await client.answer()).get("id") != 2:
            assert answer["changes"]
        assert answer["error"]["code"] == "invalid"


# -- hostile clients --


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\n",
        b"\n",
        b"[1]\n",
        b"\xff\xfe\x00\n",
        b"{" * 100_000 + b"\n",
        b'{"a": ' + b"[" * 100_000 + b"\n",
        b"1" * 5000 + b"\n",
    ],
    ids=["text", "empty", "list", "bytes", "braces", "deep", "number"],
)
async def test_garbage_ends_that_connection_with_a_word(listening: Any, spec: Any, garbage: bytes) -> None:
    async with listening(spec("Plain")), raw() as hostile, await ControlClient.connect("test") as client:
        await hostile.send(garbage)
        answer = await hostile.answer()
        assert (answer["ok"], answer["error"]["code"]) == (False, "garbage")
        assert await hostile.end() == b""
        assert await serves(client)


async def test_wrong_commands_do_not_end_the_connection(listening: Any, spec: Any) -> None:
    async with listening(spec("Plain")), raw() as client:
        await client.send(
            b'{"id": 7, "command": "explode"}\n{"id": "x", "command": "set"}\n{"command": "ping", "id": 9}\n'
        )
        answers = {answer["id"]: answer for answer in [await client.answer() for _ in range(3)]}
        assert answers[7]["error"]["code"] == "unknown-command"
        assert answers["x"]["error"]["code"] == "invalid"
        assert answers[9] == {"id": 9, "ok": True, "result": {"site": "test"}}


async def test_an_oversized_line_ends_that_connection(listening: Any, spec: Any) -> None:
    async with listening(spec("Plain")), raw() as hostile, await ControlClient.connect("test") as client:
        hostile.writer.write(b'{"command": "' + b"x" * (3 << 20))
        answer = await hostile.answer()
        assert answer["error"] == {"code": "garbage", "message": "a command has at most 1048576 bytes"}
        assert await hostile.end() == b""
        assert await serves(client)


async def test_a_client_that_closes_its_half_gets_its_answers(listening: Any, spec: Any) -> None:
    async with listening(spec("Plain")), raw() as client:
        await client.send(b'{"id": 1, "command": "status"}\n{"id": 2, "command": "ping"}\n')
        client.writer.write_eof()
        lines = (await client.end()).splitlines()
        assert {json.loads(line)["id"] for line in lines} == {1, 2}


async def test_half_a_line_and_nothing_more_harms_nobody(listening: Any, spec: Any) -> None:
    async with listening(spec("Plain")), raw() as half, await ControlClient.connect("test") as client:
        await half.send(b'{"command": "pi')
        assert await serves(client)
        half.writer.write_eof()
        assert await half.end() == b""


async def test_a_client_that_never_reads_harms_nobody(listening: Any, spec: Any) -> None:
    async with listening(spec("Writes")) as s, await ControlClient.connect("test") as client:
        await s.until_state("running")
        async with raw(limit=1) as hostile:
            request = b'{"command": "logs", "name": "w", "lines": 500}\n'
            hostile.writer.write(request * 20_000)
            for _ in range(200):
                assert await serves(client)
            assert len(s.supervisor._tasks) <= listener.COMMANDS_AT_ONCE
        assert await serves(client)


async def test_a_client_that_vanishes_before_its_answer_harms_nobody(listening: Any, spec: Any) -> None:
    async with listening(spec("Plain")), await ControlClient.connect("test") as client:
        for _ in range(50):
            async with raw() as hostile:
                await hostile.send(b'{"command": "status"}\n{"command": "subscribe"}\n')
                hostile.writer.transport.abort()
        assert await serves(client)


async def test_idle_clients_make_room_for_new_ones(
    listening: Any, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MOST_CONNECTIONS", 10)
    async with listening(spec("Plain")):
        idle = [await asyncio.open_unix_connection(str(socket_path("test"))) for _ in range(30)]
        async with await ControlClient.connect("test") as client:
            assert await serves(client)
        assert await idle[0][0].read() == b"", "the oldest was closed"
        for _, writer in idle:
            writer.close()


async def test_busy_clients_make_no_room(listening: Any, spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MOST_CONNECTIONS", 3)
    async with listening(spec("Plain")):
        watches = []
        for _ in range(3):
            reader, writer = await asyncio.open_unix_connection(str(socket_path("test")), limit=1 << 20)
            writer.write(b'{"command": "subscribe"}\n')
            await reader.readline()
            watches.append(writer)
        async with raw() as late:
            assert (await late.answer())["error"] == {"code": "busy", "message": "3 clients are connected"}
        for writer in watches:
            writer.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
async def test_another_user_is_refused_even_if_the_files_let_him(
    listening: Any, spec: Any, runtime_dir: Path
) -> None:
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(999).decode())"
    async with listening(spec("Plain")):
        path = socket_path("test")
        for place, mode in [(path, 0o666), (path.parent, 0o755), (runtime_dir, 0o755)]:
            place.chmod(mode)
        other = await asyncio.create_subprocess_exec(
            "/usr/bin/python3", "-c", code, str(path), stdout=subprocess.PIPE, user=65534
        )
        out, _ = await other.communicate()
        assert json.loads(out)["error"] == {
            "code": "forbidden",
            "message": "this site belongs to user 0, you are user 65534",
        }
        for place in (path.parent, runtime_dir):
            place.chmod(0o700)


async def test_a_forked_child_of_the_program_does_not_keep_the_socket(listening: Any, spec: Any) -> None:
    async with listening(spec("Plain")):
        wait_read, wait_write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(wait_write)
            os.read(wait_read, 1)
            os._exit(0)
        path = socket_path("test")
        path.rename(path.with_name("kept"))  # so that it can be tried after the end
    try:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(str(path.with_name("kept")))
    finally:
        os.close(wait_write)
        os.close(wait_read)
        await asyncio.to_thread(os.waitpid, child, 0)
