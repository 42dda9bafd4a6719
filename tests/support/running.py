"""Stand-ins and processes that a test starts: each runs while its `with` block lasts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Running(ABC):
    """Something that can be started and stopped; a subclass may be started again."""

    @abstractmethod
    def start(self) -> None:
        """Returns when it can be used."""

    @abstractmethod
    def stop(self) -> None:
        """Returns when it has ended."""

    def dispose(self) -> None:
        """The end of the block: stop, and leave nothing behind."""
        self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.dispose()
