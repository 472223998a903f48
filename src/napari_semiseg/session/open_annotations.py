"""The annotations of a session that are in memory: read once, mended if need be, written and let go of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from napari_semiseg.errors import InputError, NewerError, StorageError
from napari_semiseg.session.annotation import Annotation
from napari_semiseg.session.damage import mended_annotation
from napari_semiseg.session.folder import SessionFolder


class OpenAnnotations:
    """What is painted on the volumes of a session folder, by volume id, as far as it is in memory.

    Iterating gives the ids of the volumes. An export reads them in one thread while strokes are written in another, so
    there is one object of each for all threads, as long as any of them needs it.
    """

    def __init__(self, session: SessionFolder) -> None:
        self._session = session
        self._by_volume: dict[str, Annotation] = {}
        self._visitors: dict[str, list[int]] = {}  # the threads that each is lent to
        self._kept: set[str] = set()
        self._opening = threading.RLock()

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_volume)

    def __contains__(self, volume_id: str) -> bool:
        return volume_id in self._by_volume

    def get(self, volume_id: str) -> Annotation:
        """Return what was painted on a volume; the same object until it is released.

        Raises
        ------
        InputError
            If its files are damaged.
        """
        with self._opening:
            if threading.get_ident() not in self._visitors.get(volume_id, ()):
                self._kept.add(volume_id)
            return self._get(volume_id)

    def _get(self, volume_id: str) -> Annotation:
        with self._opening:  # two threads must not mend the same files
            if volume_id not in self._by_volume:
                annotation = self._read(volume_id)
                annotation.may_write = self._session.may_write
                self._by_volume[volume_id] = annotation
                if annotation.healed:
                    planes = ", ".join(map(str, annotation.healed))
                    self._session.report(
                        f"{self._session.record(volume_id).name}: slice {planes} was painted when the program ended; "
                        "it counts as scribbled now."
                    )
            return self._by_volume[volume_id]

    def put(self, volume_id: str, annotation: Annotation) -> None:
        """Keep the annotation of a volume that was just created."""
        with self._opening:
            annotation.may_write = self._session.may_write
            self._by_volume[volume_id] = annotation
            self._kept.add(volume_id)

    def release(self, volume_id: str) -> None:
        """Write what is painted on a volume and let go of it, unless it is being read elsewhere.

        Raises
        ------
        StorageError
            If it cannot be written; then it is kept.
        """
        with self._opening:
            if volume_id in self._by_volume:
                self._write(self._by_volume[volume_id])
                self._kept.discard(volume_id)
                if not self._visitors.get(volume_id):
                    del self._by_volume[volume_id]

    @contextmanager
    def visiting(self, volume_id: str) -> Iterator[Annotation]:
        """Lend what was painted on a volume; what was not at hand before is let go of afterwards."""
        visitor = threading.get_ident()
        with self._opening:
            annotation = self._get(volume_id)
            self._visitors.setdefault(volume_id, []).append(visitor)
        try:
            yield annotation
        finally:
            with self._opening:
                self._visitors[volume_id].remove(visitor)
                if volume_id not in self._kept and not self._visitors[volume_id]:
                    self.release(volume_id)

    def flush(self) -> None:
        """Write what is not on disk yet.

        Raises
        ------
        StorageError
            If something cannot be written; the rest is.
        """
        failures = []
        for annotation in list(self._by_volume.values()):
            try:
                self._write(annotation)
            except StorageError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def follow(self) -> None:
        """Write to where the session folder lies now."""
        for volume_id, annotation in self._by_volume.items():
            annotation.folder = self._session.volume_folder(volume_id)

    def _write(self, annotation: Annotation) -> None:
        annotation.flush()
        if annotation.has_unsaved_strokes and self._session.why_read_only:
            raise StorageError(self._session.why_read_only)

    def _read(self, volume_id: str) -> Annotation:
        """Read an annotation; if it is damaged and this program holds the session, it is mended and that is told."""
        record = self._session.record(volume_id)
        folder, shape = self._session.volume_folder(volume_id), record.geometry.shape
        try:
            return Annotation.open(folder, shape)
        except NewerError:
            raise
        except InputError:
            if self._session.lock is None or not folder.is_dir():
                raise
            annotation, sentence = mended_annotation(self._session.path, folder, shape)
            self._session.report(f"{record.name}: {sentence}")
            return annotation
