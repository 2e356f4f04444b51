"""Records the packets of one camera in segments: where one begins and ends, and what happens when a disk does not obey.

Reads no stream and knows no worker: it is given packets, results and a clock. How an MP4 is made is `mp4`'s business,
what a file is `segment`'s, where a result stands `results`'s, what is deleted `retention`'s.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from frameloom.model.clock import NS_PER_S, Clock
from frameloom.model.packet import BEGINS, Packet, PacketFormat
from frameloom.model.result import Result

from .mp4 import CannotMux, Mp4
from .names import utc_text
from .repair import repair_newest
from .results import FilmResults, Results
from .retention import Retention
from .segment import SegmentFile
from .sizes import in_words, reserve_bytes, size_bytes

RETRY_S = 5.0
"""So long after a trouble with the disk it is tried again."""

SILENCE_S = 10.0
"""No packet for so long, or for four times the usual distance: the segment is finished, the camera is lost."""

LOOK_S = 1.0
PRUNE_S = 60.0
_GAP_NS = 2 * NS_PER_S
_PAUSE_NS = NS_PER_S // 2
_USUAL_TIMES = 4
_ROUNDED_NS = 1_000_000  # that times of key frames may be short of a whole second
_ENOUGH_AGAIN = 1.05  # times the reserve: or each few seconds a segment would begin and end

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Limits:
    """What may change while it records; sizes as they are written, see `frameloom.sinks.sizes`."""

    segment_s: float = 60.0
    keep_days: float = 0.0
    keep_bytes: str = "0"
    reserve: str = "1GB"


@dataclass(slots=True)
class Counts:
    """Since the recorder was made.

    lost     packets that came, or were dropped on their way here, and are in no file
    gaps     breaks in the stream: dropped packets, a camera that was lost, another format
    """

    segments: int = 0
    packets: int = 0
    nbytes: int = 0
    duration_ns: int = 0
    lost: int = 0
    gaps: int = 0


class _Last(NamedTuple):
    """What is kept of the packet before: not the packet, for its data."""

    seq: int
    dts_ns: int
    format: PacketFormat


class _DiskTrouble(Exception):
    """Recording is impossible for now; the message says why, without the folder's name."""


class Recorder:
    """Give it every packet, in order, and call `tick` about once a second.

    camera  its name, which stands in the names of the files
    folder  where recordings are; made if only its last part is missing

    It records between `start` and `stop`. `trouble` is '' or says, with the folder's name, why it cannot.
    """

    def __init__(self, camera: str, folder: Path, limits: Limits, clock: Clock) -> None:
        self.camera, self.folder, self.limits = camera, folder, limits
        self.counts = Counts()
        self.trouble = ""
        self.recording = False
        self.since_ns: int | None = None  # UTC of the first picture since `start`
        self._clock = clock
        self._retention = Retention(folder, camera, clock)
        self.results = Results(clock)
        self._beside = FilmResults()  # of the present segment
        self._mp4: Mp4 | None = None
        self._file: SegmentFile | None = None
        self._first_at_ns = 0
        self._began_ns = self._reached_ns = (
            0  # when the segment's first picture is shown, its last is decoded
        )
        self._written = 0  # packets of the segment that are in the file
        self._last: _Last | None = None
        self._step_ns = 0  # from the packet before the last to the last
        self._heard_ns = clock.monotonic_ns()
        self._retry_ns = self._look_ns = self._prune_ns = self._ahead_ns = 0
        self._needs_room = False
        self._syncing: threading.Thread | None = None
        self._make_folder()
        repair_newest(folder, camera)

    # --- for the host ---

    @property
    def file(self) -> Path | None:
        """The segment that is being written; may be asked in any thread."""
        file = self._file
        return file.path if file else None

    @property
    def deleted(self) -> int:
        """Segments that the retention has deleted."""
        return self._retention.deleted

    def start(self, *, anew: bool = True) -> None:
        """Record from the next key frame on; `anew`: count from zero."""
        if not self.recording:
            self.recording, self.since_ns = True, None
            self.counts = Counts() if anew else self.counts

    def pause(self) -> None:
        """End the segment, and record no more until `start`."""
        self.end_segment()
        self.recording = False
        self.trouble = ""
        self._last = None

    def stop(self) -> None:
        """End the segment; when this returns it is on the disk."""
        self.pause()
        self._wait_for_disk()

    def lost_camera(self) -> None:
        """What comes next does not follow what came before."""
        self.counts.gaps += self._mp4 is not None
        self.end_segment()
        self._last = None

    def close(self) -> None:
        """After `stop`: nothing is said any more of what was recorded, either."""
        self.results.close()

    def hear(self, result: Result) -> None:
        """Write what was said of a picture beside it, if that is recorded. Raises nothing for a disk: see `trouble`."""
        with self._results_on_disk():
            self.results.hear(result)

    def take(self, packet: Packet) -> None:
        """Record one packet, if it is time to. Raises nothing for a disk: see `trouble`."""
        self._heard_ns = self._clock.monotonic_ns()
        if self._breaks(packet):
            self.counts.gaps += self._mp4 is not None
            self.end_segment()
        self._last = _Last(packet.seq, packet.dts_ns, packet.format)
        if self.recording:
            self._try_to_record(packet)

    def tick(self, *, on_standby: bool = False) -> None:
        """Finish the segment of a camera that says nothing any more, and delete what is not to be kept.

        `on_standby`: it may have to record at any time, so `trouble` tells of a full disk before that.
        """
        now_ns = self._clock.monotonic_ns()
        if on_standby and not self.recording and now_ns >= self._ahead_ns:
            self._ahead_ns = now_ns + round(RETRY_S * NS_PER_S)
            self._look_ahead()
        if self._mp4 is not None and now_ns - self._heard_ns > self._longest_silence_ns():
            self.lost_camera()
        self.results.tick()
        if now_ns >= self._prune_ns:
            self.prune()

    def prune(self) -> None:
        """Delete what the limits do not allow to stay."""
        self._prune_ns = self._clock.monotonic_ns() + round(PRUNE_S * NS_PER_S)
        growing = self._file.segment._replace(results_bytes=self._beside.nbytes) if self._file else None
        self._retention.prune(self.limits.keep_days, size_bytes(self.limits.keep_bytes), growing)

    def end_segment(self) -> None:
        """Write what is left of the present segment; the next one begins at the next key frame."""
        if self._mp4 is None:
            return
        try:
            self._append(self._mp4.end())
        except (CannotMux, OSError) as error:
            self._fail(error)
        self._let_go()

    # --- packets ---

    def _breaks(self, packet: Packet) -> bool:
        """Whether a decoder that has seen everything so far cannot go on with this packet."""
        last = self._last
        if last is None:
            return False
        missed = packet.seq - last.seq - 1
        self.counts.lost += max(0, missed) if self.recording else 0
        step_ns = packet.dts_ns - last.dts_ns
        # A camera that is back begins with a key frame; elsewhere a short pause is not worth the rest of the group.
        shortest_ns = _PAUSE_NS if packet.is_key else _GAP_NS
        is_gap = step_ns <= 0 or step_ns > max(shortest_ns, _USUAL_TIMES * self._step_ns)
        self._step_ns = max(0, step_ns)
        is_other = packet.format is not last.format and packet.format != last.format
        return missed != 0 or is_gap or is_other or bool(packet.metadata.get(BEGINS))

    def _longest_silence_ns(self) -> int:
        return max(round(SILENCE_S * NS_PER_S), _USUAL_TIMES * self._step_ns)

    def _try_to_record(self, packet: Packet) -> None:
        try:
            self._record(packet)
        except CannotMux as error:
            self.counts.lost += 1
            self.end_segment()
            self._tell(f"camera {self.camera!r}: {error}")
        except (OSError, _DiskTrouble) as error:
            self.counts.lost += not self._holds_all()
            self._fail(error)
            self._let_go()

    def _record(self, packet: Packet) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._mp4 is not None and now_ns >= self._look_ns:
            self._look_around(now_ns)
        if packet.is_key and self._is_full(packet):
            self.end_segment()
        if self._mp4 is None:
            self._mp4 = self._begun(packet, now_ns)
        if self._mp4 is None:
            self.counts.lost += bool(self.since_ns is not None or self.trouble)
            return
        self._append(self._mp4.add(packet))
        self.counts.duration_ns += packet.dts_ns - self._reached_ns
        self._reached_ns = packet.dts_ns
        with self._results_on_disk():
            self.results.shows(self._beside, packet.pts_ns, packet.captured_ns, self._mp4.shown)

    @contextmanager
    def _results_on_disk(self) -> Iterator[None]:
        """A disk that does not take results is in trouble, and takes no film either; what there is of that is kept."""
        try:
            yield
        except OSError as error:
            self.end_segment()
            self._fail(error)

    def _is_full(self, packet: Packet) -> bool:
        is_open = self._mp4 is not None
        return is_open and packet.pts_ns - self._began_ns >= self.limits.segment_s * NS_PER_S - _ROUNDED_NS

    def _begun(self, packet: Packet, now_ns: int) -> Mp4 | None:
        """A segment that begins with this packet; None if none can, or it is not yet time to try again."""
        if not packet.is_key or now_ns < self._retry_ns:
            return None
        self._check_room()
        mp4 = Mp4(packet, _tags(self.camera, packet))
        self._first_at_ns, self._written = packet.captured_at_ns, 0
        self._began_ns, self._reached_ns = packet.pts_ns, packet.dts_ns
        self._look_ns = now_ns + round(LOOK_S * NS_PER_S)
        self._beside = self.results.begin_film()
        if self.since_ns is None:
            self.since_ns = packet.captured_at_ns
        return mp4

    # --- the disk ---

    def _append(self, data: bytes) -> None:
        if not data or self._mp4 is None:
            return
        if self._file is None:  # not before there is a picture to play in it, whoever kills us meanwhile
            self._file = SegmentFile.create(self.folder, self.camera, self._first_at_ns)
        self._file.append(data)
        if self.trouble:
            log.info("%s: recording again", self.folder)
        self.trouble, self._needs_room = "", False
        self.counts.nbytes += len(data)
        self.counts.packets += self._mp4.given - self._written
        self._written = self._mp4.given
        if not self._beside.has_begun:
            self._beside.begin(self._file.path)

    def _look_around(self, now_ns: int) -> None:
        """Once a second: is the file still there, and room for more?"""
        self._look_ns = now_ns + round(LOOK_S * NS_PER_S)
        if self._file is not None and not self._file.is_there:
            log.warning("%s: somebody has deleted it while it was written", self._file.path)
            self._let_go()
            return
        try:
            self._check_room()
        except (OSError, _DiskTrouble):
            self.end_segment()
            raise

    def _look_ahead(self) -> None:
        try:
            self._check_room()
        except (OSError, _DiskTrouble) as error:
            self._tell(self._in_words(error))
        else:
            self.trouble = ""

    def _check_room(self) -> None:
        disk = os.statvfs(self.folder)
        free_bytes = disk.f_bavail * disk.f_frsize
        kept_bytes = reserve_bytes(self.limits.reserve, disk.f_blocks * disk.f_frsize)
        wanted_bytes = kept_bytes * _ENOUGH_AGAIN if self._needs_room else kept_bytes
        if free_bytes < wanted_bytes:
            self._needs_room = True
            free, kept = in_words(free_bytes), in_words(kept_bytes)
            raise _DiskTrouble(f"{free} are free, and {kept} are to stay free (reserve)")

    def _holds_all(self) -> bool:
        """Whether the packet that came last is counted with what the segment holds."""
        return self._mp4 is not None and self._mp4.added > 0

    def _let_go(self) -> None:
        """The segment is over; what of it is not in the file is lost."""
        mp4, file = self._mp4, self._file
        self._mp4 = self._file = None
        if mp4 is None:
            return
        self.counts.lost += mp4.added - self._written
        mp4.abandon()
        if file is None or not (self._written and file.is_there):
            self.results.discard_film(self._beside)
            if file is not None:
                file.discard()
            return
        self.results.end_film(self._beside)
        self.counts.segments += 1
        self._retention.add(file.segment._replace(results_bytes=self._beside.nbytes))
        self._wait_for_disk()
        self._syncing = file.finish()
        self.prune()

    def _wait_for_disk(self) -> None:
        """One segment at a time may be on its way to the disk: a disk that hangs must be noticed."""
        if self._syncing is not None:
            self._syncing.join()
            self._syncing = None

    def _fail(self, error: Exception) -> None:
        self._tell(self._in_words(error))
        self._retry_ns = self._clock.monotonic_ns() + round(RETRY_S * NS_PER_S)

    def _in_words(self, error: Exception) -> str:
        words = getattr(error, "strerror", None) or str(error)
        return f"{self.folder}: {words}; trying again every {RETRY_S:g} s"

    def _tell(self, trouble: str) -> None:
        if not self.trouble:  # and not each time that it is tried again
            log.warning("not recording: %s", trouble)
        self.trouble = trouble

    def _make_folder(self) -> None:
        """Its last part only: a disk that is not mounted is not replaced by a folder where it should be."""
        with suppress(OSError):  # said when a segment is to begin
            self.folder.mkdir(exist_ok=True)


def _tags(camera: str, first: Packet) -> dict[str, str]:
    """Metadata of a file. UTC of a picture is `frameloom_utc` plus its presentation time in the file."""
    zero_utc_ns = first.captured_at_ns - (first.pts_ns - first.dts_ns)
    return {
        "creation_time": utc_text(first.captured_at_ns),
        "frameloom_utc": utc_text(zero_utc_ns),
        "frameloom_camera": camera,
    }
