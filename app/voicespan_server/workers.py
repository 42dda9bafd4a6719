"""Several worker processes on one port, and their supervisor."""

from __future__ import annotations

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess


class Supervisor(Multiprocess):
    """uvicorn's, that also hears a second signal while its workers end: then they are killed."""

    def join_all(self) -> None:
        """Wait for the workers to end."""
        self.signal_queue.clear()
        while running := [worker for worker in self.processes if worker.process.is_alive()]:
            if self.signal_queue:
                for worker in running:
                    worker.kill()
            running[0].process.join(0.1)
        super().join_all()


def serve(config: uvicorn.Config) -> None:
    """Bind the port and hold `config.workers` processes on it until a signal comes."""
    Supervisor(config, sockets=[config.bind_socket()]).run()
