"""How a watcher tells a run what it wishes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from napari_semiseg.engine.control import Wish
from napari_semiseg.errors import InputError
from napari_semiseg.session.storage import read_json, write_json


class ControlFile:
    """A watcher's wishes for a run, kept in ``control.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._wish = Wish()

    def wish(self) -> Wish:
        """Return the present wish; costs one look at the file's time stamp."""
        try:
            status = self.path.stat()
        except OSError:
            return self._wish
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            with contextlib.suppress(InputError, KeyError, TypeError, ValueError, IndexError):
                content = read_json(self.path)
                show = content["show"]
                self._wish = Wish(
                    stop=bool(content["stop"]),
                    pause=bool(content["pause"]),
                    show=None if show is None else (str(show[0]), int(show[1])),
                    predict=int(content["predict"]),
                )
                self._stamp = stamp
        return self._wish

    def stop(self) -> None:
        """Ask the run to end and keep what was learned."""
        self._change(stop=True)

    def pause(self) -> None:
        """Ask the run to wait."""
        self._change(pause=True)

    def resume(self) -> None:
        """Ask a waiting run to go on."""
        self._change(pause=False)

    def show(self, volume: str, plane: int) -> None:
        """Tell which plane is on the screen; its prediction is refreshed while the run goes on."""
        if self.wish().show != (volume, plane):
            self._change(show=(volume, plane))

    def predict(self) -> None:
        """Ask for a prediction of all volumes now."""
        self._change(predict=self.wish().predict + 1)

    def clear(self) -> None:
        """Forget all wishes."""
        self.path.unlink(missing_ok=True)
        self._stamp, self._wish = None, Wish()

    def _change(self, **changes: Any) -> None:
        wish = self.wish()
        content = {"stop": wish.stop, "pause": wish.pause, "show": wish.show, "predict": wish.predict, **changes}
        # Written with every slice that is scrolled past, so it does not wait for the disk.
        write_json(self.path, content, durable=False)
