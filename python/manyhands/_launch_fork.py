"""Workers by fork, from a template process that is forked when the pool is made.

The template forks the first worker before it is asked, while the pool is still being made: it has
only to be told its seat.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import select
import signal
import socket
import struct

from manyhands import _worker
from manyhands._pickling import note_fork
from manyhands._server import may_have_children, signal_mask, workers_mask
from manyhands._spec import Handover, WorkerSpec

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from typing import Any

    from manyhands._launch import Child

__all__ = ["ForkLauncher"]

_REQUEST = struct.Struct("!I")
_REPLY = struct.Struct("!Ii")

# Of a reply that tells of no exit status: it has been started; it could not be, for this `errno`;
# it has ended, and somebody else has taken the status.
_STARTED, _NOT_STARTED, _UNKNOWN = -(2**31), -(2**31) + 1, -(2**31) + 2


class ForkLauncher:
    """By fork, from a template that was forked when the pool was made, before it had threads."""

    def __init__(self, name: str, spec: WorkerSpec) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._exits: dict[int, int] = {}
        note_fork()
        context = multiprocessing.get_context("fork")
        try:
            with signal_mask(workers_mask()), may_have_children():
                self._template = context.Process(
                    target=_template,
                    args=(theirs, self._socket, name, spec),
                    name=f"{name}-template",
                )
                self._template.start()
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        # A program that joins all its active children would wait for this one for ever. It ends
        # with the pool, or with this process, and is reaped by `close`.
        multiprocessing.process._children.discard(self._template)  # type: ignore[attr-defined]
        # It is the program that may have it reaped by others, and then its number is another's.
        self._pid = self._template.pid

    def launch(self, worker: int, fd: int) -> Child:
        try:
            _send_seat(self._socket, worker, fd)
        except OSError as error:
            raise self._dead() from error
        finally:
            os.close(fd)
        while True:
            reply = self._receive()
            if reply is None:
                raise self._dead()
            number, code = reply
            if code == _STARTED:
                return TemplateChild(number, self)
            if code == _NOT_STARTED:
                raise OSError(number, os.strerror(number))
            self._exits[number] = code

    def reap(self, pid: int) -> int | None:
        """The exit status of one of the template's children, if it is known."""
        while pid not in self._exits:
            reply = self._receive()
            if reply is None:
                # Nobody else is told; the next launch says what has happened.
                return None
            ended, code = reply
            self._exits[ended] = code
        code = self._exits.pop(pid)
        return None if code == _UNKNOWN else code

    def _receive(self) -> tuple[int, int] | None:
        """What the template says; `None` if it has died."""
        # End of file does not come while another process holds the template's end.
        if self._socket.fileno() not in _readable(self._socket.fileno(), self._template.sentinel):
            return None
        try:
            message = self._socket.recv(_REPLY.size)
        except ConnectionResetError:
            # It has died before it had read all that it was asked.
            return None
        if not message:
            return None
        number, code = _REPLY.unpack(message)
        return number, code

    def _dead(self) -> RuntimeError:
        return RuntimeError(
            f"the process {self._pid} that forks the workers has died; was it killed as the parent "
            "of one?"
        )

    def close(self) -> None:
        # Closing alone tells the template nothing while another process holds this end: that of a
        # second pool, forked meanwhile, whose own end may be held by this one's template.
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # the template has died
                raise
        self._socket.close()
        self._template.join()
        if self._template.exitcode is not None:  # or the program has had it reaped by others
            self._template.close()


class TemplateChild:
    """A process forked by the template."""

    def __init__(self, pid: int, launcher: ForkLauncher) -> None:
        self.pid = pid
        self._launcher = launcher

    def reap(self) -> int | None:
        return self._launcher.reap(self.pid)


def _send_seat(to: socket.socket, worker: int, fd: int) -> None:
    """Asks for a worker with that number and seat. No SIGPIPE, whose effect is the program's."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))
    to.sendmsg([_REQUEST.pack(worker)], [rights], socket.MSG_NOSIGNAL)


def _readable(*descriptors: int) -> list[int]:
    """Waits until there is something to read from one of them, or it has ended; those."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [found for found, _ in poll.poll()]


def _template(
    requests: socket.socket, parents_end: socket.socket, name: str, spec: WorkerSpec
) -> None:
    """The template: forks workers when asked, reports their ends, ends with its parent."""
    _worker.ignore_interrupts()
    # The program may have its children reaped by a handler of its own, or by nobody; these it has
    # no part in. The workers have again what the program has.
    on_child = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    parents_end.close()
    # End of file does not come while another child of the parent holds its end open.
    parent = os.pidfd_open(os.getppid())
    # Ends as its owner's child; its own children are workers, which may have pools of their own.
    # By pidfd: a process that a worker has forked holds the pipe by which multiprocessing sees the
    # worker's end.
    children: dict[int, Any] = {}
    nursery = Nursery(name, requests, spec, on_child)
    nursery.prepare()
    while True:
        ready = _readable(requests.fileno(), parent, *children)
        if parent in ready:
            os._exit(1)
        for ended in [found for found in ready if found in children]:
            process = children.pop(ended)
            os.close(ended)
            process.join()
            code = process.exitcode
            requests.send(_REPLY.pack(process.pid, _UNKNOWN if code is None else code))
            if code is not None:
                process.close()
        if requests.fileno() not in ready:
            continue
        try:
            message, descriptors, _, _ = socket.recv_fds(requests, _REQUEST.size, 1)
        except ConnectionResetError:
            # The parent has died before it had read all that it was told.
            message = b""
        if not message:
            nursery.close()
            if children:
                # The parent has died, and they with this process; one that is stopped could not
                # be waited for.
                os._exit(1)
            return
        (worker,) = _REQUEST.unpack(message)
        try:
            started = nursery.start(worker, descriptors[0])
        except OSError as error:
            requests.send(_REPLY.pack(error.errno or errno.EAGAIN, _NOT_STARTED))
            continue
        finally:
            os.close(descriptors[0])
        children[started.pidfd] = started.process
        requests.send(_REPLY.pack(started.process.pid, _STARTED))


class Forked:
    """A process that was forked.

    Attributes:
        process: The `multiprocessing.Process`.
        pidfd: Readable when it has ended.
    """

    def __init__(self, process: Any, pidfd: int) -> None:
        self.process = process
        self.pidfd = pidfd

    def end(self) -> None:
        """Kills it, and leaves nothing of it."""
        os.close(self.pidfd)
        self.process.kill()
        self.process.join()
        self.process.close()


class Nursery:
    """Where the template forks workers; one it may fork before there is a seat for it.

    Attributes:
        waiting: That one.
    """

    def __init__(self, name: str, requests: socket.socket, spec: WorkerSpec, on_child: Any) -> None:
        self.waiting: Forked | None = None
        self._name = name
        self._requests = requests
        self._spec = spec
        self._on_child = on_child
        self._context = multiprocessing.get_context("fork")
        # By the first the waiting worker is told its seat, by the second it is told.
        self._seat, self._seats = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def prepare(self) -> None:
        """Forks a worker that waits for its seat. If it cannot be, the next request will tell."""
        with contextlib.suppress(OSError):
            self.waiting = self._fork(_forked_ahead)
        self._seats.close()

    def start(self, worker: int, fd: int) -> Forked:
        """A worker that takes its seat through `fd`, which stays the caller's.

        Raises:
            OSError: The system gives no process, or no descriptor.
        """
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            try:
                _send_seat(self._seat, worker, fd)
            except OSError:  # it has been killed
                waiting.end()
            else:
                return waiting
            finally:
                self._seat.close()
        return self._fork(_forked, Handover(fd), worker)

    def close(self) -> None:
        """No seat will come for the one that waits."""
        self._seat.close()
        if self.waiting is not None:
            self.waiting.end()

    def _fork(self, run: Any, *args: Any) -> Forked:
        process = self._context.Process(target=run, args=(self, *args))
        with signal_mask(workers_mask()):
            process.start()
        pid = process.pid
        assert pid is not None, "it has been started"
        try:
            return Forked(process, os.pidfd_open(pid))
        except OSError:
            process.kill()
            process.join()
            raise

    def wait(self) -> tuple[int, Handover] | None:
        """In a process that was forked ahead: its number and seat; `None` if none will come."""
        self._seat.close()
        message, descriptors, _, _ = socket.recv_fds(self._seats, _REQUEST.size, 1)
        self._seats.close()
        if not message:
            return None
        (worker,) = _REQUEST.unpack(message)
        return worker, Handover(descriptors[0])

    def leave(self, worker: int) -> WorkerSpec:
        """In a new process: it is that worker, and has nothing of the template's."""
        multiprocessing.current_process().name = f"{self._name}-{worker}"
        self._requests.close()
        if self._on_child is not None:  # or it is no handler that Python could set
            signal.signal(signal.SIGCHLD, self._on_child)
        return self._spec


def _forked(nursery: Nursery, control: Handover, worker: int) -> None:
    _worker.main(control, nursery.leave(worker))


def _forked_ahead(nursery: Nursery) -> None:
    told = nursery.wait()
    if told is not None:
        worker, control = told
        _forked(nursery, control, worker)
