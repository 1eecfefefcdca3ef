"""Workers by fork, from a template process that is forked when the pool is made."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import struct
from multiprocessing import connection

from manyhands import _worker
from manyhands._server import signal_mask, workers_mask
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
        context = multiprocessing.get_context("fork")
        self._template = context.Process(
            target=_template, args=(theirs, self._socket, name, spec), name=f"{name}-template"
        )
        with signal_mask(workers_mask()):
            self._template.start()
        # A program that joins all its active children would wait for this one for ever. It ends
        # with the pool, or with this process, and is reaped by `close`.
        multiprocessing.process._children.discard(self._template)  # type: ignore[attr-defined]
        theirs.close()
        # It is the program that may have it reaped by others, and then its number is another's.
        self._pid = self._template.pid

    def launch(self, worker: int, fd: int) -> Child:
        try:
            socket.send_fds(self._socket, [_REQUEST.pack(worker)], [fd])
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
        if self._socket not in connection.wait([self._socket, self._template.sentinel]):
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
    context = multiprocessing.get_context("fork")
    # Ends as its owner's child; its own children are workers, which may have pools of their own.
    # By pidfd: a process that a worker has forked holds the pipe by which multiprocessing sees the
    # worker's end.
    children: dict[int, Any] = {}
    while True:
        ready = connection.wait([requests, parent, *children])
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
        if requests not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(requests, _REQUEST.size, 1)
        if not message:
            if children:
                # The parent has died, and they with this process; one that is stopped could not
                # be waited for.
                os._exit(1)
            return
        (worker,) = _REQUEST.unpack(message)
        process = context.Process(
            target=_forked,
            args=(Handover(descriptors[0]), requests, spec, on_child),
            name=f"{name}-{worker}",
        )
        try:
            with signal_mask(workers_mask()):
                process.start()
        except OSError as error:
            requests.send(_REPLY.pack(error.errno or errno.EAGAIN, _NOT_STARTED))
            continue
        finally:
            os.close(descriptors[0])
        pid = process.pid
        assert pid is not None, "it has been started"
        try:
            children[os.pidfd_open(pid)] = process
        except OSError as error:
            process.kill()
            process.join()
            requests.send(_REPLY.pack(error.errno or errno.EMFILE, _NOT_STARTED))
            continue
        requests.send(_REPLY.pack(pid, _STARTED))


def _forked(control: Handover, requests: socket.socket, spec: WorkerSpec, on_child: Any) -> None:
    requests.close()
    if on_child is not None:  # or it is no handler that Python could set
        signal.signal(signal.SIGCHLD, on_child)
    _worker.main(control, spec)
