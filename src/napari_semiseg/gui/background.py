"""Work off the UI thread, in order, with answers delivered on the UI thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from qtpy.QtCore import QObject, Qt, Signal

T = TypeVar("T")


class Lane(QObject):
    """One background thread that works off what it is given, one after the other.

    Parameters
    ----------
    name : str
        Name of the thread.
    failed : callable
        Gets, on the UI thread, the error of work that has no handler of its own.
    """

    _arrived = Signal(object)

    def __init__(self, name: str, failed: Callable[[BaseException], Any], parent: QObject | None = None):
        super().__init__(parent)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.failed = failed
        self._closed = False
        self._arrived.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def run(
        self,
        work: Callable[[], T],
        then: Callable[[T], Any] | None = None,
        failed: Callable[[BaseException], Any] | None = None,
    ) -> Future[T]:
        """Queue ``work``; ``then`` gets its result and ``failed`` its error, both on the UI thread."""
        future = self._pool.submit(work)
        future.add_done_callback(lambda done: self._announce(done, then, failed))
        return future

    def _announce(self, future: Future, then: Callable | None, failed: Callable | None) -> None:
        if self._closed or future.cancelled():
            return
        try:
            self._arrived.emit((future, then, failed))
        except RuntimeError:
            # The window, and this object's C++ half with it, is gone: nobody is left to tell.
            self._closed = True

    def _deliver(self, arrival: tuple[Future, Callable | None, Callable | None]) -> None:
        future, then, failed = arrival
        if self._closed:
            return
        try:
            result = future.result()
        except CancelledError:
            return
        except Exception as error:
            (failed or self.failed)(error)
            return
        if then is not None:
            then(result)

    def close(self, *, wait: bool) -> None:
        """Deliver nothing more; finish what is queued (``wait``), or drop it."""
        self._closed = True
        self._pool.shutdown(wait=wait, cancel_futures=not wait)
