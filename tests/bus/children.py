"""The other side of the bus as a process of its own, to be killed: `python -m tests.bus.children WHAT`.

Each prints a line when it has come to the point, and then waits to be killed, or for a line to go on.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from frameloom.bus import delivery, listening, protocol
from frameloom.bus.paths import stream_path
from frameloom.bus.protocol import Hello, Policy
from frameloom.bus.publisher import FramePublisher, PacketPublisher
from frameloom.bus.subscriber import Subscription
from tests.bus.parts import GENEROUS_S, SMALL, is_intact, joined, packet, publish, take

STREAM = os.environ.get("STREAM", "hall")


def say(**facts: Any) -> None:
    print(json.dumps({"pid": os.getpid(), **facts}), flush=True)


def wait_for_the_end(*_: Any, **__: Any) -> Any:
    say()
    time.sleep(1000)


def told_to_go_on() -> bool:
    return bool(sys.stdin.readline())


# --- readers -------------------------------------------------------------------------------------------------------


def connected() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(str(stream_path("default", STREAM)))
    return sock


def reader_before_hello() -> None:
    sock = connected()
    wait_for_the_end(sock)


def reader_after_hello() -> None:
    sock = connected()
    sock.send(protocol.pack_hello(Hello(Policy.LATEST, 4, "victim", os.getpid())))
    wait_for_the_end(sock)


def reader_with_unread_items() -> None:
    with Subscription(STREAM, policy="every", leases=8, client="victim") as frames:
        wait_for_the_end(frames)


def reader_with_leases() -> None:
    with Subscription(STREAM, policy="every", leases=8, client="victim") as frames:
        say()
        kept = [take(frames) for _ in range(4)]
        say(shared=[frame.shared for frame in kept])
        told_to_go_on()


def reader_that_has_left_with_leases() -> None:
    with Subscription(STREAM, client="victim") as frames:
        say()
        kept = take(frames)
    say(seq=kept.seq)
    told_to_go_on()


def reader_in_a_change_of_epoch() -> None:
    """Has read the announcement of the new memory, and not the first item in it."""
    with Subscription(STREAM, policy="every", leases=8, client="victim") as frames:
        say()
        frames._item = wait_at_item(frames._item)  # type: ignore[method-assign]
        while True:
            take(frames)


def wait_at_item(take_item: Callable[..., Any]) -> Callable[..., Any]:
    def first_the_epoch(connection: Any, message: bytes) -> Any:
        if connection.epoch.number > 1:
            wait_for_the_end()
        return take_item(connection, message)

    return first_the_epoch


def reader_that_counts() -> None:
    """Reads until the end, and says what it got."""
    with Subscription(STREAM, client="counting") as frames:
        say()
        intact = [is_intact(frame) for frame in frames]
        say(frames=len(intact), intact=all(intact), dropped=frames.stats.dropped)


def reader_that_waits() -> None:
    """Waits for a publisher that does not come, in this thread, whose number is the process's."""
    with Subscription(STREAM) as frames:
        say()
        say(seq=take(frames, 1000).seq)


# --- publishers ----------------------------------------------------------------------------------------------------


def publisher_that_has_the_lock() -> None:
    flock = fcntl.flock

    def lock_and_wait(fd: int, how: int) -> None:
        flock(fd, how)
        wait_for_the_end()

    listening.fcntl.flock = lock_and_wait  # type: ignore[attr-defined]
    FramePublisher(STREAM)


def publisher_that_is_bound() -> None:
    class Socket(socket.socket):
        listen = wait_for_the_end

    listening.socket.socket = Socket  # type: ignore[attr-defined,misc]
    FramePublisher(STREAM)


def publisher_that_listens_under_another_name() -> None:
    listening.Path.rename = wait_for_the_end  # type: ignore[attr-defined]
    FramePublisher(STREAM)


def publisher_that_greets_nobody() -> None:
    delivery.Delivery._greet = wait_for_the_end  # type: ignore[method-assign]
    with FramePublisher(STREAM):
        time.sleep(1000)


def publisher_with_readers() -> None:
    """Publishes ten frames to one reader, one by one as it is told to, and goes on waiting."""
    with FramePublisher(STREAM) as publisher:
        say()
        joined(publisher, 1)
        for seed in range(1, 11):
            publish(publisher, seed)
            say(seq=seed)
            if not told_to_go_on():
                break
        wait_for_the_end()


def publisher_in_the_middle_of_a_frame() -> None:
    """Has published two frames, and written a part of the third into its slot."""
    with FramePublisher(STREAM) as publisher:
        say()
        joined(publisher, 1)
        for seed in (1, 2):
            publish(publisher, seed)
        publisher.reserve(SMALL).data[:99] = 0xEE
        wait_for_the_end()


def publisher_in_the_middle_of_sending() -> None:
    """Has sent the announcement of an epoch to its reader, and not the item that follows."""
    with FramePublisher(STREAM) as publisher:
        say()
        joined(publisher, 1)
        send = publisher._send

        def send_and_wait(reader: Any, message: bytes, fd: int | None = None) -> bool:
            sent = send(reader, message, fd)
            if fd is not None:
                wait_for_the_end()
            return sent

        publisher._send = send_and_wait  # type: ignore[method-assign]
        publish(publisher, 1)
        time.sleep(1000)


def publisher_of_packets() -> None:
    with PacketPublisher(STREAM) as publisher:
        say()
        joined(publisher, 1)
        for seed in range(1, 6):
            publisher.publish(packet(seed, is_key=seed == 1))
        wait_for_the_end()


# --- forks ---------------------------------------------------------------------------------------------------------


def fork_with_a_subscription() -> None:
    with FramePublisher(STREAM) as publisher, Subscription(STREAM) as frames:
        joined(publisher, 1)
        publish(publisher, 1)
        kept = take(frames)
        in_child(
            lambda: [
                errors_of(lambda: frames.get(0)),
                errors_of(frames.fileno),
                frames.close(),
                kept.release(),
            ]
        )
        publish(publisher, 2)
        after = take(frames)
        held = publisher.readers()[0].leases
        say(intact=is_intact(kept) and is_intact(after), seqs=[kept.seq, after.seq], leases=held)


def fork_with_a_publisher() -> None:
    with FramePublisher(STREAM) as publisher, Subscription(STREAM) as frames:
        joined(publisher, 1)
        slot = publisher.reserve(SMALL)
        facts = [
            lambda: publisher.reserve(SMALL),
            lambda: publisher.publish(slot, pts_ns=0, captured_ns=0, captured_at_ns=0),
        ]
        in_child(lambda: [*map(errors_of, facts), publisher.readers(), publisher.wanted, publisher.close()])
        publish(publisher, 2)
        say(intact=is_intact(take(frames)))


def fork_while_a_thread_is_in_the_publisher() -> None:
    """Its lock is held in the child by a thread that does not exist there."""
    held, done = threading.Event(), threading.Event()

    def hold(publisher: FramePublisher) -> None:
        with publisher._lock:
            held.set()
            done.wait(GENEROUS_S)

    with FramePublisher(STREAM) as publisher:
        thread = threading.Thread(target=hold, args=(publisher,))
        thread.start()
        held.wait(GENEROUS_S)
        in_child(lambda: [publisher.readers(), errors_of(lambda: publisher.reserve(SMALL))])
        done.set()
        thread.join()


def fork_after_the_end() -> None:
    """What was closed before the fork is not closed again in the child, where its numbers mean other things."""
    publisher, frames = FramePublisher(STREAM), Subscription(STREAM)
    joined(publisher, 1)
    publisher.close()
    frames.close()
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    in_child(lambda: [os.fstat(fd).st_rdev == os.stat("/dev/null").st_rdev for fd in others])


def in_child(look: Callable[[], list[Any]]) -> None:
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # a deadlock in the child ends it
        try:
            say(child=look())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def errors_of(call: Callable[[], Any]) -> str:
    try:
        return repr(call())
    except ValueError as error:
        return str(error)


def reader_with_a_forked_child() -> None:
    with Subscription(STREAM, client="victim") as frames:
        say()
        kept = take(frames)
        leave_a_child_behind(seq=kept.seq)


def publisher_with_a_forked_child() -> None:
    with FramePublisher(STREAM):
        leave_a_child_behind()


def leave_a_child_behind(**facts: Any) -> None:
    if os.fork() == 0:
        say(child=os.getpid(), **facts)
        sys.stdin.read()
        os._exit(0)
    time.sleep(1000)


if __name__ == "__main__":
    assert GENEROUS_S
    globals()[sys.argv[1]]()
