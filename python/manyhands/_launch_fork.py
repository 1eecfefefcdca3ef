"""Workers by fork, from a template process that is forked when the pool is made."""

from __future__ import annotations

import multiprocessing
import os
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
_STARTED = -(2**31)


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
        theirs.close()

    def launch(self, worker: int, fd: int) -> Child:
        try:
            socket.send_fds(self._socket, [_REQUEST.pack(worker)], [fd])
        finally:
            os.close(fd)
        while True:
            pid, code = self._receive()
            if code == _STARTED:
                return TemplateChild(pid, self)
            self._exits[pid] = code

    def reap(self, pid: int) -> int:
        """The exit status of one of the template's children."""
        while pid not in self._exits:
            ended, code = self._receive()
            self._exits[ended] = code
        return self._exits.pop(pid)

    def _receive(self) -> tuple[int, int]:
        message = self._socket.recv(_REPLY.size)
        if not message:
            raise RuntimeError("the template that forks the workers has died")
        pid, code = _REPLY.unpack(message)
        return pid, code

    def close(self) -> None:
        # Closing alone tells the template nothing while another process holds this end: that of a
        # second pool, forked meanwhile, whose own end may be held by this one's template.
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()
        self._template.join()
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
    parents_end.close()
    # End of file does not come while another child of the parent holds its end open.
    parent = os.pidfd_open(os.getppid())
    context = multiprocessing.get_context("fork")
    # Ends as its owner's child; its own children are workers, which may have pools of their own.
    children: dict[int, Any] = {}
    while True:
        ready = connection.wait([requests, parent, *children])
        if parent in ready:
            os._exit(1)
        for sentinel in [found for found in ready if found in children]:
            process = children.pop(sentinel)
            pid = process.pid
            process.join()
            requests.send(_REPLY.pack(pid, process.exitcode))
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
            args=(Handover(descriptors[0]), requests, spec),
            name=f"{name}-{worker}",
        )
        with signal_mask(workers_mask()):
            process.start()
        os.close(descriptors[0])
        children[process.sentinel] = process
        requests.send(_REPLY.pack(process.pid, _STARTED))


def _forked(control: Handover, requests: socket.socket, spec: WorkerSpec) -> None:
    requests.close()
    _worker.main(control, spec)
