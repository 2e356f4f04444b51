"""Run one command in a virtual machine that has cameras: the kernel's own V4L2 test driver, `vivid`.

    python tests/v4l2/guest.py -- python -m pytest tests/v4l2/in_guest

The guest boots the host's Debian kernel and sees the host's root file system, read-only (9p), with a file
system in memory on top (overlay): the command finds the repository, its `.venv` and every program of the host
at the same paths, may write wherever it likes, and changes nothing on the host. It runs as root, in the
repository, without a network (loopback only). Its output and its exit code are passed on; what this script
itself has to say goes to stderr.

Exit codes of its own: 124 time limit, 125 the guest could not be had or broke down, 130 interrupted, 141
nobody reads the output.

Only the standard library is used: any Python >= 3.11 can start it. Tests do not belong here: those that need
the cameras are in `in_guest/`, those of this script in `test_guest.py`.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import lzma
import math
import os
import platform
import re
import secrets
import selectors
import shlex
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parents[2]
EXIT_TIME_LIMIT, EXIT_GUEST_BROKEN, EXIT_INTERRUPTED, EXIT_NO_READER = 124, 125, 130, 141
GUEST_MARK = "FRAMELOOM_V4L2_GUEST"  # set for the command; in_guest/ is collected only where it is

# video0: a webcam, beside it a metadata node (video10), as USB webcams have. video1: an HDMI grabber, any
# size in steps, with an output node (video11). video2: a webcam, multi-planar buffers.
VIVID = (
    "n_devs=3 vid_cap_nr=0,1,2 meta_cap_nr=10 vid_out_nr=-1,11 node_types=0x20001,0x101,0x1"
    " num_inputs=1,1,1 input_types=0x0,0x3,0x0 num_outputs=1,1,1 output_types=0x1,0x1,0x1 multiplanar=1,1,2"
)
MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "vivid")
APPLETS = "cat chmod chroot cp insmod ip ln ls mkdir mount poweroff sh usleep".split()
NOT_SHARED = ("dev", "proc", "run", "sys")  # the guest has its own

INIT = r"""#!/bin/sh
# The first process of the guest. Until the control port is open, it can only talk to the kernel's console.
fail() { echo "guest: $1"; [ -n "$talking" ] && echo "failed $1" >&5; poweroff -f; }
phase() { echo "phase $1" >&5; }
port() {  # path of the virtio port named $1; ports appear some time after their driver
    tries=500
    while [ $tries -gt 0 ]; do
        for known in /sys/class/virtio-ports/*; do
            path=/dev/${known##*/}
            [ "$(cat $known/name 2>/dev/null)" = "$1" ] && [ -c $path ] && echo $path && return
        done
        usleep 20000; tries=$((tries - 1))
    done
}
export PATH=/bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
echo "guest: init started"
while read -r file arguments; do
    insmod /modules/$file $arguments || fail "cannot load the module $file"
done </modules/order
control=$(port control); out=$(port out); err=$(port err)
[ -n "$control" ] && [ -n "$out" ] && [ -n "$err" ] || fail "no virtio ports"
exec 5<>$control 3>$out 4>$err
talking=yes
phase "kernel and drivers are up"

mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 host /lower ||
    fail "cannot mount the host's root"
mount -t tmpfs -o size=90% upper /upper && mkdir /upper/files /upper/work || fail "cannot mount a tmpfs"
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work,xino=off root /root ||
    fail "cannot mount the overlay"
cd /root
mount -t devtmpfs dev dev && mount -t proc proc proc && mount -t sysfs sys sys &&
    mount -t tmpfs -o mode=755 run run || fail "cannot mount /dev, /proc, /sys, /run"
mkdir -m 1777 run/tmp run/lock
mkdir -p dev/shm dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm; mount -t devpts -o mode=620,ptmxmode=666 pts dev/pts
# As udev would have it.
ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
chmod 660 dev/video*; chroot . chgrp video /dev/video0 /dev/video1 /dev/video2 || fail "no group 'video'"
ip link set lo up
cp /command run/guest-command
phase "command started"
chroot . /bin/sh /run/guest-command </dev/null >&3 2>&4 5>&-
code=$?
# Powering off would lose what is still on its way: mark the ends; the host, when it has all, ends us.
end=$(cat /end); printf %s "$end" >&3; printf %s "$end" >&4; echo "exit $code" >&5
while :; do usleep 1000000; done
"""


class GuestError(Exception):
    """The guest cannot be had, or broke down; the text says what to do."""


class GuestTimeLimitError(GuestError):
    """The time limit is over."""


# What the host must have


def need_program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise GuestError(f"{name} is not installed: apt-get install {package}")
    return found


def static_busybox() -> Path:
    """Path of a busybox that runs without the host's libraries, in an initramfs."""
    found = Path(need_program("busybox", "busybox-static"))
    with found.open("rb") as file:
        if is_dynamic(file):
            raise GuestError(
                f"{found} needs shared libraries: apt-get install busybox-static (it replaces busybox)"
            )
    return found


def is_dynamic(elf: IO[bytes]) -> bool:
    """True if a 64-bit ELF program asks for an interpreter (PT_INTERP)."""
    header = elf.read(64)
    first, size, count = struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
    elf.seek(first)
    table = elf.read(size * count)
    return any(struct.unpack_from("<I", table, at)[0] == 3 for at in range(0, len(table), size))


@dataclass(frozen=True)
class Kernel:
    """An installed kernel: its image and the folder of its modules."""

    image: Path
    modules: Path

    def files(self) -> dict[str, list[str]]:
        """Module name -> files to load for it, in order, relative to the folder."""
        lines = (self.modules / "modules.dep").read_text().splitlines()
        split = (line.partition(":") for line in lines)
        return {module_name(file): [*reversed(needed.split()), file] for file, _, needed in split}

    def built_in(self) -> set[str]:
        return {module_name(file) for file in (self.modules / "modules.builtin").read_text().splitlines()}

    def load_order(self, wanted: Sequence[str]) -> list[str]:
        """Files of the wanted modules and all they need, each once; KeyError: a module that is not there."""
        files, built_in = self.files(), self.built_in()
        order = [file for name in wanted if name not in built_in for file in files[name]]
        return list(dict.fromkeys(order))


def module_name(file: str) -> str:
    return Path(file).name.partition(".")[0].replace("-", "_")


def newest_kernel(boot: Path = Path("/boot"), modules: Path = Path("/lib/modules")) -> Kernel:
    """The newest installed kernel that can be read and has every module the guest needs."""
    images = sorted(boot.glob("vmlinuz-*"), key=version_key, reverse=True)
    kernels = [Kernel(image, modules / image.name.removeprefix("vmlinuz-")) for image in images]
    for kernel in kernels:
        if has_modules(kernel) and os.access(kernel.image, os.R_OK):
            return kernel
    seen = ", ".join(kernel.image.name for kernel in kernels) or "none"
    raise GuestError(
        f"no readable kernel in {boot} with the modules {', '.join(MODULES)} (kernels found: {seen}):"
        " apt-get install linux-image-amd64 (the -cloud- kernels have no vivid)"
    )


def version_key(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def has_modules(kernel: Kernel) -> bool:
    try:
        return bool(kernel.load_order(MODULES))
    except (OSError, KeyError):
        return False


def kvm_works() -> bool:
    """True if this machine lets us make a virtual processor; a /dev/kvm that is there may still refuse."""
    get_api_version, create_vm, create_vcpu = 0xAE00, 0xAE01, 0xAE41
    with suppress(OSError), open("/dev/kvm", "rb+", buffering=0) as kvm:
        if fcntl.ioctl(kvm, get_api_version) != 12:
            return False
        with os.fdopen(fcntl.ioctl(kvm, create_vm, 0), "rb", buffering=0) as machine:
            os.close(fcntl.ioctl(machine, create_vcpu, 0))
            return True
    return False


def check_shared(path: Path) -> None:
    top = path.parts[1] if len(path.parts) > 1 else ""
    if top in NOT_SHARED:
        raise GuestError(
            f"{path} is under /{top}, which the guest does not share with the host: clone it elsewhere"
        )


def python_behind(link: Path) -> Path:
    """The interpreter a virtual environment stands on."""
    if not os.access(link, os.X_OK):
        raise GuestError(f"no virtual environment: {link} cannot be run")
    return link.resolve()


# The initramfs: an archive in cpio's "newc" format


class Archive:
    """Builds an initramfs in memory."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0

    def add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % value for value in fields)
        self._parts += [padded(header + encoded), padded(content)]

    def folder(self, name: str) -> None:
        self.add(name, stat.S_IFDIR | 0o755)

    def program(self, name: str, content: bytes) -> None:
        self.add(name, stat.S_IFREG | 0o755, content)

    def link(self, name: str, target: str) -> None:
        self.add(name, stat.S_IFLNK | 0o777, target.encode())

    def finished(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return b"".join(self._parts)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)


def initramfs(kernel: Kernel, vivid: str, command_script: str, end_mark: str) -> bytes:
    archive = Archive()
    for folder in "bin dev lower modules proc root sys upper".split():
        archive.folder(folder)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.program("bin/busybox", static_busybox().read_bytes())
    for applet in APPLETS:
        archive.link(f"bin/{applet}", "busybox")
    archive.program("init", INIT.encode())
    archive.program("command", command_script.encode())
    archive.program("end", end_mark.encode())
    add_modules(archive, kernel, vivid)
    return archive.finished()


def add_modules(archive: Archive, kernel: Kernel, vivid: str) -> None:
    order = []
    for file in kernel.load_order(MODULES):
        name = module_name(file)
        archive.program(f"modules/{name}.ko", unpacked(kernel.modules / file))
        order.append(f"{name}.ko {vivid if name == 'vivid' else ''}\n")
    archive.program("modules/order", "".join(order).encode())


def unpacked(module: Path) -> bytes:
    if module.suffix == ".xz":
        return lzma.decompress(module.read_bytes())
    if module.suffix != ".ko":
        raise GuestError(f"{module}: only .ko and .ko.xz modules can be read")
    return module.read_bytes()


def command_script(command: Sequence[str]) -> str:
    """Shell script for the guest: the command, in the repository, the virtual environment first in PATH."""
    environment = {
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        "PATH": f"{REPOSITORY / '.venv/bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(REPOSITORY / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": "/run/tmp",
        GUEST_MARK: "1",
    }
    settings = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    return f"cd {shlex.quote(str(REPOSITORY))} || exit 125\n{settings}exec {shlex.join(command)}\n"


# The machine


@dataclass(frozen=True)
class Settings:
    """How to run the guest."""

    accelerator: str = "auto"  # auto, kvm, tcg
    time_limit_s: float = 600.0
    memory_mb: int = 1536
    vivid: str = VIVID
    verbose: bool = False


PORTS = ("control", "out", "err")  # of the guest
CHANNELS = ("qemu", "console", *PORTS)  # of the machine; "qemu" is what QEMU itself has to say
KVM_START_LIMIT_S = 15.0  # a nested KVM can take every step of starting and then stand still


@dataclass
class Machine:
    """A running QEMU and our ends of its channels."""

    process: subprocess.Popen[bytes]
    channels: dict[str, socket.socket]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for channel in self.channels.values():
            channel.close()


def qemu_command(
    accelerator: str, settings: Settings, kernel: Kernel, initrd: int, fds: dict[str, int]
) -> list[str]:
    accel = "kvm" if accelerator == "kvm" else "tcg,thread=multi"
    command = [need_program("qemu-system-x86_64", "qemu-system-x86"), "-accel", accel]
    command += ["-cpu", "max", "-smp", "2", "-m", str(settings.memory_mb)]
    command += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"]
    command += ["-kernel", str(kernel.image), "-initrd", f"/proc/self/fd/{initrd}"]
    command += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on"]
    command += ["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]
    command += ["-device", "virtio-9p-pci,fsdev=host,mount_tag=host", "-device", "virtio-serial-pci"]
    for name in ("console", *PORTS):
        command += ["-chardev", f"socket,id={name},fd={fds[name]}"]
    for name in PORTS:
        command += ["-device", f"virtserialport,chardev={name},name={name}"]
    return [*command, "-serial", "chardev:console"]


def start_machine(accelerator: str, settings: Settings, kernel: Kernel, initrd: bytes) -> Machine:
    """Starts QEMU. Nothing is written to disk: the initramfs is in memory, the channels are socket pairs."""
    pairs = {name: socket.socketpair() for name in CHANNELS}
    theirs = {name: pair[1].fileno() for name, pair in pairs.items()}
    with in_memory(initrd) as fd:
        command = qemu_command(accelerator, settings, kernel, fd, theirs)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=theirs["qemu"],
            stderr=theirs["qemu"],
            pass_fds=[fd, *theirs.values()],
            preexec_fn=die_with_parent(),
            start_new_session=True,  # Ctrl-C is for us, who then end QEMU
        )
    for _, their_end in pairs.values():
        their_end.close()
    return Machine(process, {name: pair[0] for name, pair in pairs.items()})


@contextmanager
def in_memory(content: bytes) -> Iterator[int]:
    fd = os.memfd_create("initramfs")
    with os.fdopen(fd, "wb", buffering=0) as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
        yield fd


def die_with_parent() -> Callable[[], None]:
    """What the child runs before it becomes QEMU: the kernel is to kill it when we go, even by SIGKILL."""
    prctl, set_parent_death_signal, parent = ctypes.CDLL(None).prctl, 1, os.getpid()

    def arrange() -> None:
        prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


@dataclass
class Conversation:
    """Follows a running guest: passes its output on, until it has told its exit code."""

    machine: Machine
    end_mark: bytes
    settings: Settings
    began_s: float
    alive: bool = False  # its init has spoken
    exit_code: int | None = None
    failure: str | None = None
    _console: deque[bytes] = field(default_factory=lambda: deque(maxlen=100))
    _waiting: dict[str, bytes] = field(default_factory=dict)  # of each channel: received, not yet passed on
    _ended: set[str] = field(default_factory=set)

    def run(self, start_deadline_s: float) -> None:
        """Returns when the guest has ended, has told all it had to, or has not started in time.

        Raises GuestTimeLimitError when the time limit is over.
        """
        with selectors.DefaultSelector() as selector:
            for name, channel in self.machine.channels.items():
                selector.register(channel, selectors.EVENT_READ, name)
            while selector.get_map() and not self._complete():
                if not self.alive and time.monotonic() >= start_deadline_s:
                    return
                self._serve(selector, math.inf if self.alive else start_deadline_s)

    def _serve(self, selector: selectors.BaseSelector, until_s: float) -> None:
        now_s, end_s = time.monotonic(), self.began_s + self.settings.time_limit_s
        if now_s >= end_s:
            raise GuestTimeLimitError(
                f"time limit of {self.settings.time_limit_s:g} s is over{self.console_tail()}"
            )
        for key, _ in selector.select(min(until_s, end_s) - now_s):
            received = receive(self.machine.channels[key.data])
            if not received:
                selector.unregister(key.fileobj)
            getattr(self, f"_on_{key.data}")(received)

    def _complete(self) -> bool:
        return self.exit_code is not None and self._ended >= {"out", "err"}

    def _on_out(self, received: bytes) -> None:
        self._pass_on("out", received, sys.stdout.buffer)

    def _on_err(self, received: bytes) -> None:
        self._pass_on("err", received, sys.stderr.buffer)

    def _pass_on(self, name: str, received: bytes, target: IO[bytes]) -> None:
        """All but what may be the beginning of the end mark."""
        content = self._waiting.get(name, b"") + received
        content, mark, _ = content.partition(self.end_mark)
        if mark:
            self._ended.add(name)
        keep = 0 if mark or not received else possible_start(content, self.end_mark)
        target.write(content[: len(content) - keep])
        target.flush()
        self._waiting[name] = content[len(content) - keep :]

    def _on_console(self, received: bytes) -> None:
        if self.settings.verbose:
            sys.stderr.buffer.write(received)
            sys.stderr.flush()
        lines = self._lines("console", received)
        self._console.extend(lines)
        self.alive = self.alive or any(b"guest: init started" in line for line in lines)

    def _on_qemu(self, received: bytes) -> None:
        self._console.extend(self._lines("qemu", received))

    def _on_control(self, received: bytes) -> None:
        for line in self._lines("control", received):
            kind, _, text = line.decode(errors="replace").partition(" ")
            if kind == "phase":
                say(text, self.began_s)
            elif kind == "exit":
                self.exit_code = int(text)
            elif kind == "failed":
                self.failure = text

    def _lines(self, name: str, received: bytes) -> list[bytes]:
        *lines, self._waiting[name] = (self._waiting.get(name, b"") + received).split(b"\n")
        return lines

    def console_tail(self) -> str:
        lines = [*self._console, *(self._waiting.get(name, b"") for name in ("console", "qemu"))]
        text = b"\n".join(line for line in lines if line.strip()).decode(errors="replace").replace("\r", "")
        return f"; its last words:\n{text}" if text else "; it has not said a word"


def receive(channel: socket.socket) -> bytes:
    try:
        return channel.recv(65536)
    except ConnectionResetError:
        return b""


def possible_start(content: bytes, mark: bytes) -> int:
    """How many bytes at the end of the content could be the start of the mark."""
    longest = min(len(content), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if content.endswith(mark[:size])), 0)


def say(text: str, began_s: float) -> None:
    print(f"guest {time.monotonic() - began_s:6.1f} s: {text}", file=sys.stderr, flush=True)


def run_once(
    accelerator: str, settings: Settings, kernel: Kernel, command: Sequence[str], began_s: float
) -> int | None:
    """Exit code of the command in a new guest; None if not even the guest's init was reached."""
    end_mark = f"<end {secrets.token_hex(16)}>"
    initrd = initramfs(kernel, settings.vivid, command_script(command), end_mark)
    machine = start_machine(accelerator, settings, kernel, initrd)
    try:
        say(f"booting {kernel.image.name} ({accelerator}, qemu is process {machine.process.pid})", began_s)
        conversation = Conversation(machine, end_mark.encode(), settings, began_s)
        conversation.run(time.monotonic() + KVM_START_LIMIT_S if accelerator == "kvm" else math.inf)
        return result(conversation)
    finally:
        machine.close()


def result(conversation: Conversation) -> int | None:
    if conversation.exit_code is not None:
        say(f"command ended with exit code {conversation.exit_code}", conversation.began_s)
        return conversation.exit_code
    if not conversation.alive:
        say(f"the kernel did not start{conversation.console_tail()}", conversation.began_s)
        return None
    raise GuestError(
        f"the guest ended early: {conversation.failure or 'crashed'}{conversation.console_tail()}"
    )


def run(command: Sequence[str], settings: Settings) -> int:
    """Runs the command in a guest and returns its exit code; GuestError if there is no guest to be had."""
    began_s = time.monotonic()
    if platform.machine() != "x86_64":
        raise GuestError(
            f"the guest runs this machine's programs: x86_64 is allowed, this is {platform.machine()}"
        )
    check_shared(REPOSITORY)
    check_shared(python_behind(REPOSITORY / ".venv/bin/python"))
    kernel = newest_kernel()
    for accelerator in accelerators(settings.accelerator):
        code = run_once(accelerator, settings, kernel, command, began_s)
        if code is not None:
            return code
    raise GuestError("the kernel did not start")


def accelerators(wanted: str) -> list[str]:
    if wanted != "auto":
        return [wanted]
    return ["kvm", "tcg"] if kvm_works() else ["tcg"]


# The command line


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage="guest.py [options] -- COMMAND...",
        description="Run a command in a QEMU guest that has the V4L2 test driver's cameras.",
    )
    default, add = Settings(), parser.add_argument
    add(
        "--time-limit",
        type=float,
        default=default.time_limit_s,
        metavar="S",
        help="boot included (%(default)g)",
    )
    add("--accel", choices=["auto", "kvm", "tcg"], default=default.accelerator, help="(%(default)s)")
    add("--memory", type=int, default=default.memory_mb, metavar="MB", help="(%(default)s)")
    add("--vivid", default=default.vivid, metavar="PARAMETERS", help="parameters of the module vivid")
    add("--verbose", action="store_true", help="show the guest's console on stderr")
    add("command", nargs="+", metavar="COMMAND")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    given = parsed(arguments)
    settings = Settings(given.accel, given.time_limit, given.memory, given.vivid, given.verbose)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # so that QEMU is ended and waited for
    try:
        return run(given.command, settings)
    except GuestTimeLimitError as error:
        print(f"guest: {error}", file=sys.stderr)
        return EXIT_TIME_LIMIT
    except GuestError as error:
        print(f"guest: {error}", file=sys.stderr)
        return EXIT_GUEST_BROKEN
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # who read our output has gone; the interpreter is not to find that out once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NO_READER


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
