"""Several worker processes on one port, and their supervisor: SIGHUP replaces them one by one, and cuts no call.

A new worker serves before the old one retires. A retired worker has left the port, so that new calls come to others,
lets its calls finish (VOICESPAN_DRAIN_S), and ends; meanwhile the supervisor goes on with the next.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

logger = logging.getLogger(__name__)

RETIRE = signal.SIGUSR1
# Between leaving the port and refusing calls: who was accepted at the last moment gets its request in.
LAST_COMERS_S = 0.5
# A new worker imports all there is, on a machine that serves at the same time.
READY_S = 60.0
# While it waits for one: whether it is to stop instead.
LOOK_EVERY_S = 0.5
STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT}


class WorkerServer(uvicorn.Server):
    """uvicorn's, that can leave the port while its connections go on."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and be ready to retire."""
        await super().startup(sockets=sockets)
        asyncio.get_running_loop().add_signal_handler(RETIRE, self.retire)

    def retire(self) -> None:
        """Take no new connection, and end as if told to, which waits for the calls."""
        for listening in self.servers:
            listening.close()
        asyncio.get_running_loop().call_later(LAST_COMERS_S, signal.raise_signal, signal.SIGTERM)


class Worker(Process):
    """A worker process."""

    @property
    def server(self) -> uvicorn.Server:
        """Made in the worker itself."""
        if self._server is None:
            self._server = WorkerServer(config=self.config)
        return self._server

    def retire(self) -> None:
        """Tell it to leave the port and to end when its calls have."""
        if self.pid is not None and self.process.is_alive():
            os.kill(self.pid, RETIRE)


class Supervisor(Multiprocess):
    """Holds `config.workers` workers on the port. A second signal to stop kills those that still end."""

    processes: list[Worker]  # type: ignore[assignment]

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._retired: list[Worker] = []
        self._at_once = False
        self.failed = False  # a worker could not start

    def init_processes(self) -> None:
        """Start all workers."""
        self.processes = [self._start() for _ in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or hang, and forget retired ones that have ended."""
        self._retired = [worker for worker in self._retired if worker.process.is_alive()]
        for index, worker in enumerate(self.processes):
            if self.should_exit.is_set() or worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                self.failed = True
                self.should_exit.set()  # another would fail in the same way
                return
            logger.warning("worker %s died with %s and is replaced", worker.pid, worker.exitcode)
            self.processes[index] = self._start()

    def restart_all(self) -> None:
        """Replace each worker by a new one, which serves before the old one retires."""
        if self._stops():
            return
        for index, former in enumerate(self.processes):
            successor = self._start()
            if not self._becomes_ready(successor):
                successor.kill()
                successor.join()
                if not self._stops():
                    logger.error("a new worker did not become ready: the others stay as they are")
                return
            former.retire()
            self._retired.append(former)
            self.processes[index] = successor

    def _becomes_ready(self, worker: Worker) -> bool:
        """Wait until it serves; False where it does not, or where a signal to stop came meanwhile."""
        deadline_s = time.monotonic() + READY_S
        while worker.process.is_alive() and time.monotonic() < deadline_s and not self._stops():
            if worker.wait_until_ready(LOOK_EVERY_S):
                return True
        return False

    def _stops(self) -> bool:
        return self.should_exit.is_set() or not STOPS.isdisjoint(self.signal_queue)

    def join_all(self) -> None:
        """Wait for the workers to end; those that had retired are ending anyway."""
        everybody = [*self.processes, *self._retired]
        while running := [worker for worker in everybody if worker.process.is_alive()]:
            self.handle_signals()
            if self._at_once:
                for worker in running:
                    worker.kill()
            running[0].process.join(0.1)
        for worker in everybody:
            worker.join()

    def handle_int(self) -> None:
        """Stop; and who asks again, however soon, does not want to wait."""
        self._at_once = self.should_exit.is_set()
        super().handle_int()

    def handle_term(self) -> None:
        """As above."""
        self._at_once = self.should_exit.is_set()
        super().handle_term()

    def handle_quit(self) -> None:
        """As above: else its workers, which a terminal tells so too, would be replaced for ever."""
        self.handle_term()

    def handle_ttin(self) -> None:
        """One worker more."""
        if self._stops():
            return
        self.processes_num += 1
        self.processes.append(self._start())

    def handle_ttou(self) -> None:
        """One worker less, down to one."""
        if self.processes_num > 1:
            self.processes_num -= 1
            self.processes[-1].retire()
            self._retired.append(self.processes.pop())

    def _start(self) -> Worker:
        worker = Worker(self.config, self.sockets)
        worker.start()
        return worker


def serve(config: uvicorn.Config) -> None:
    """Bind the port and hold `config.workers` processes on it until a signal comes.

    Exits as a single server does where a worker cannot start.
    """
    supervisor = Supervisor(config, sockets=[config.bind_socket()])
    supervisor.run()
    if supervisor.failed:
        sys.exit(STARTUP_FAILURE)
