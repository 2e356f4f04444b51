"""Scenes with real disks: `python -m tests.sinks.mounted SCENE FOLDER FILM`, in a mount namespace of its own.

What is mounted here nobody else sees, and it is gone with this process. `test_disks.py` runs it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from frameloom.model.packet import Packet
from frameloom.model.result import Result
from frameloom.sinks.names import results_of
from frameloom.sinks.recorder import RETRY_S, Limits, Recorder
from frameloom.testing.clock import FakeClock
from tests.sinks.parts import FPS, FRAMES, GOP, camera, packets_of_film, played, recordings

LAPS = 12


class Scene:
    """A disk of its own that is mounted on `mount`, and a recorder that writes into a folder of it."""

    def __init__(self, folder: Path, film: Path) -> None:
        self.disk, self.mount = folder / "disk", folder / "mount"
        for each in (self.disk, self.mount):
            each.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=8m", "none", self.disk)
        run("mount", "--bind", self.disk, self.mount)
        self.folder = self.mount / "recordings"
        self.clock = FakeClock()
        self.recorder = Recorder("hall", self.folder, Limits(reserve="0", segment_s=1), self.clock)
        self.recorder.start()
        self._packets = iter(camera(packets_of_film(film), laps=LAPS))

    def record(self, groups: int) -> list[Packet]:
        """So many groups of pictures, and what a processor says of each."""
        packets = [next(self._packets) for _ in range(groups * GOP)]
        for packet in packets:
            self.clock.advance(1 / FPS)
            self.recorder.take(packet)
            times = (packet.pts_ns, packet.captured_ns, packet.captured_at_ns)
            self.recorder.hear(Result("finder", 0, "hall", packet.seq, *times, {"seq": packet.seq}))
            self.recorder.tick()
        return packets

    def record_until_retried(self) -> None:
        """Past the time at which it tries again."""
        self.record(round(RETRY_S * FPS / GOP) + 1)

    def fail(self, why: str) -> None:
        """It says so, and lets nothing be lost uncounted."""
        expected = f"{self.folder}: {why}; trying again every {RETRY_S:g} s"
        assert self.recorder.trouble == expected, self.recorder.trouble

    def end(self) -> None:
        """It records again, to the last picture; every file plays, and every line beside it is whole."""
        last = self.record(4)[-1]
        self.recorder.stop()
        self.recorder.close()
        assert self.recorder.trouble == ""
        numbers: list[int | None] = []
        for path in recordings(self.folder):
            numbers += played(path).numbers
            assert results_of(path).read_bytes().endswith(b"}\n")
        counts = self.recorder.counts
        assert counts.packets == len(numbers) >= 6 * GOP
        assert counts.packets + counts.lost == last.seq
        assert counts.lost > 0
        assert numbers[-1] == (last.seq - 1) % FRAMES


def full(scene: Scene) -> None:
    """A disk that is full in the midst of a write, and has room again later."""
    scene.record(3)
    ballast = scene.disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    scene.record(3)
    scene.fail("No space left on device")
    before = recordings(scene.folder)
    scene.record_until_retried()
    scene.fail("No space left on device")
    assert set(before) <= set(recordings(scene.folder)), "nothing is deleted to make room"
    ballast.unlink()
    scene.record_until_retried()
    scene.end()


def read_only(scene: Scene) -> None:
    """A disk that takes nothing any more, as after an error of its own."""
    scene.record(4)
    run("mount", "--bind", scene.mount, scene.mount)
    run("mount", "-o", "remount,bind,ro", scene.mount)
    scene.record(4)
    scene.fail("Read-only file system")
    scene.record_until_retried()
    scene.fail("Read-only file system")
    run("umount", "-l", scene.mount)
    scene.record_until_retried()
    scene.end()


def vanishes(scene: Scene) -> None:
    """A disk that is pulled out: no folder of its name takes its place, and it goes on when it is back."""
    scene.record(4)
    run("umount", "-l", scene.mount)
    scene.record(4)
    scene.fail("No such file or directory")
    assert list(scene.mount.iterdir()) == [], "on the disk below"
    run("mount", "--bind", scene.disk, scene.mount)
    scene.record_until_retried()
    scene.end()


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


SCENES: dict[str, Callable[[Scene], None]] = {"full": full, "read-only": read_only, "vanishes": vanishes}

if __name__ == "__main__":
    name, folder, film = sys.argv[1:]
    SCENES[name](Scene(Path(folder), Path(film)))
