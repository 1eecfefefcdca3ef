"""Loaded by a forkserver last of all, when it starts for a pool.

The server starts with Ctrl-C blocked, so that one that comes while it loads what it will need does
not end it. Once this is loaded the server is ready, and deals with Ctrl-C by itself; one that came
meanwhile was the program's affair, and is dropped.

When its parent was killed, it removes the directory of its socket, as the parent would have done.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
from multiprocessing import forkserver

TYPE_CHECKING = False  # as in `typing`, which takes long to import
if TYPE_CHECKING:
    from typing import Any

_process, _parent = os.getpid(), os.getppid()

END = 5.0
"""Seconds that the parent, which has let go of its server, may take to end."""


def _clear_away() -> None:
    if os.getpid() != _process:
        return
    if os.getppid() == _parent:
        try:
            ending = os.pidfd_open(_parent)
        except OSError:
            pass
        else:
            if not select.select([ending], [], [], END)[0]:
                # It lives on, and may start another server there.
                return
    server: Any = forkserver._forkserver
    try:
        os.unlink(server._forkserver_address)
        os.rmdir(os.path.dirname(server._forkserver_address))
    except OSError:
        # It is gone already, or holds more.
        return


atexit.register(_clear_away)

# Each worker compiles the main module, and the compiler's first run in a process takes long.
compile("", "<template>", "exec")

while signal.SIGINT in signal.sigpending():
    signal.sigwait({signal.SIGINT})
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
