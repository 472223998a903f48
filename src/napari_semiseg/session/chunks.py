"""A zarr store whose writes survive a power failure."""

from __future__ import annotations

import asyncio

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from napari_semiseg.session.storage import storing, write_bytes


class DurableStore(LocalStore):
    """A folder in which each chunk is written beside its place, brought to the disk and then renamed.

    zarr's own store renames as well, but does not wait for the disk, so that a power failure may leave an empty chunk.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Store one chunk or one metadata file.

        Raises
        ------
        StorageError
        """
        if not self._is_open:
            await self._open()
        self._check_writable()
        await asyncio.to_thread(self._write, key, value)

    def _write(self, key: str, value: Buffer) -> None:
        path = self.root / key
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, value.to_bytes())
