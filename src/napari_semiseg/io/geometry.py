"""Where the voxels of a volume lie in the patient, and how the file's array order becomes plane, row, column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_semiseg.errors import InputError
from napari_semiseg.io import orientation

GRID_TOLERANCE = 0.05
"""Two grids are the same if no corner voxel is off by more than this part of a voxel."""

FORMATS = ("nifti", "nrrd", "mha", "dicom", "tiff", "mgh", "memory")


@dataclass(frozen=True, eq=False)
class Geometry:
    """How a volume lies in its file and in the patient.

    Attributes
    ----------
    format : str
        ``"nifti"``, ``"nrrd"``, ``"mha"``, ``"dicom"``, ``"tiff"``, ``"mgh"`` or ``"memory"``.
    file_shape : tuple of 3 ints
        Shape of the array as the file has it, fastest index first (x, y, z).
    affine : ndarray of float64, shape (4, 4)
        File voxel indices to RAS+ mm.
    axes : tuple of 3 ints
        ``axes[d]`` is the file axis shown as display dimension ``d`` (plane, row, column).
    flips : tuple of 3 bools
        Display dimensions that run against the file's index. Planes are never flipped.
    header : dict
        JSON-able; what the format needs to write the same geometry again exactly. ``"oriented": False`` says that the
        file does not tell how the patient lies, so the affine's directions are a convention.
    """

    format: str
    file_shape: tuple[int, int, int]
    affine: np.ndarray
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    header: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise InputError(
                f"The affine must be a finite 4 x 4 matrix with last row 0 0 0 1, but it is {affine.tolist()}."
            )
        sizes = orientation.voxel_sizes(affine)
        if (sizes <= 0).any() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-4:
            raise InputError(
                "The voxel axes do not span a volume: spacing must be above 0 and no two axes may be parallel, "
                f"but the spacing is {_numbers(sizes)} mm."
            )
        affine.flags.writeable = False
        shape = tuple(int(n) for n in self.file_shape)
        axes = tuple(int(a) for a in self.axes)
        flips = tuple(bool(f) for f in self.flips)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"A volume has three axes of at least one voxel, but the shape is {shape}.")
        if self.format not in FORMATS or sorted(axes) != [0, 1, 2] or len(flips) != 3 or flips[0]:
            raise InputError(f"Not a valid geometry: format {self.format!r}, axes {axes}, flips {flips}.")
        for name, value in (("affine", affine), ("file_shape", shape), ("axes", axes), ("flips", flips)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "header", dict(self.header))

    @classmethod
    def from_affine(
        cls,
        format: str,
        file_shape: tuple[int, ...],
        affine: np.ndarray,
        *,
        axis: int | None = None,
        header: Mapping[str, Any] | None = None,
    ) -> Geometry:
        """Lay out a file's array for display.

        Parameters
        ----------
        format : str
            Name of the file format.
        file_shape : tuple of 3 ints
            Shape of the file's array.
        affine : ndarray, shape (4, 4)
            File voxel indices to RAS+ mm.
        axis : int, optional
            File axis along which the planes are stacked; without it the rule of `orientation.slice_axis` decides.
        header : mapping, optional
            What the format needs to write the same geometry again.

        Raises
        ------
        InputError
            If the affine is singular or ``axis`` is not 0, 1 or 2.
        """
        if axis not in (None, 0, 1, 2):
            raise InputError(f"The slice axis must be 0, 1 or 2 (axes of the file), but {axis!r} was given.")
        # The checks of the constructor come before any division by a spacing of 0.
        plain = cls(format, file_shape, affine, (2, 1, 0), (False, False, False), dict(header or {}))  # type: ignore[arg-type]
        chosen = orientation.slice_axis(plain.file_shape, plain.affine) if axis is None else axis
        axes, flips = orientation.screen_layout(plain.affine, chosen)
        return cls(format, plain.file_shape, plain.affine, axes, flips, plain.header)

    @classmethod
    def from_spacing(cls, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Geometry:
        """Make the geometry of an array (planes, rows, columns) that came from memory.

        Parameters
        ----------
        shape : tuple of 3 ints
            Planes, rows, columns.
        spacing : tuple of 3 floats
            Voxel size in mm: plane, row, column.

        Returns
        -------
        Geometry
            Unoriented (``letters`` are empty), written to files as axial planes from inferior to superior.
        """
        if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
            raise InputError(
                f"Spacing must be three numbers above 0 in mm (plane, row, column), but {spacing} was given."
            )
        planes, rows, columns = shape
        affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
        return cls("memory", (columns, rows, planes), affine, (2, 1, 0), (False, False, False), {"oriented": False})

    def paged(self) -> Geometry:
        """Return the geometry of a file whose pages are the planes, from top left, as the screen shows them."""
        planes, rows, columns = self.shape
        affine = self.display_affine[:, [2, 1, 0, 3]]
        header = {"oriented": self.oriented}
        return Geometry("tiff", (columns, rows, planes), affine, (2, 1, 0), (False, False, False), header)

    @property
    def oriented(self) -> bool:
        """Whether the file told how the patient lies."""
        return bool(self.header.get("oriented", True))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of planes, rows and columns."""
        planes, rows, columns = (self.file_shape[a] for a in self.axes)
        return planes, rows, columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm: plane, row, column."""
        sizes = orientation.voxel_sizes(self.affine)
        plane, row, column = (float(sizes[a]) for a in self.axes)
        return plane, row, column

    @property
    def display_affine(self) -> np.ndarray:
        """Display indices (plane, row, column) to RAS+ mm, shape (4, 4)."""
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for dimension, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            turn[axis, dimension] = -1 if flip else 1
            turn[axis, 3] = self.file_shape[axis] - 1 if flip else 0
        return self.affine @ turn

    @property
    def letters(self) -> tuple[tuple[str, str], ...]:
        """Patient letters (R L A P S I) at the low and high end of planes, rows, columns; empty if not known."""
        if not self.oriented:
            return (("", ""),) * 3
        return orientation.axis_letters(self.display_affine)

    @property
    def descending(self) -> bool:
        """Whether plane numbers rise against RAS+: towards the left, the back or the feet; false if not known."""
        along = self.display_affine[:3, 0]
        return self.oriented and bool(along[np.abs(along).argmax()] < 0)

    @property
    def _flipped(self) -> tuple[int, ...]:
        return tuple(dimension for dimension, flip in enumerate(self.flips) if flip)

    def to_display(self, file_array: np.ndarray) -> np.ndarray:
        """Turn an array in file order into (planes, rows, columns); a view where possible.

        Raises
        ------
        InputError
            If the array does not have the shape of the file.
        """
        if file_array.shape != self.file_shape:
            raise InputError(f"The array has shape {file_array.shape}, but the file has {self.file_shape}.")
        return np.flip(file_array.transpose(self.axes), self._flipped)

    def to_file(self, display_array: np.ndarray) -> np.ndarray:
        """Turn an array (planes, rows, columns) into file order; the inverse of `to_display`.

        Raises
        ------
        InputError
            If the array does not have the shape of the volume.
        """
        if display_array.shape != self.shape:
            raise InputError(
                f"The array has {display_array.shape} planes, rows and columns, but the volume has {self.shape}."
            )
        return np.flip(display_array, self._flipped).transpose(tuple(int(d) for d in np.argsort(self.axes)))

    def same_grid(self, other: Geometry, tolerance: float = GRID_TOLERANCE) -> bool:
        """Tell whether equal (plane, row, column) indices mean the same place in both volumes.

        Parameters
        ----------
        other : Geometry
            What to compare with.
        tolerance : float
            Largest accepted distance of corner voxels, as a part of a voxel.
        """
        return self.shape == other.shape and corner_distance(self, other.display_affine) <= tolerance

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dict from which `from_json` makes an equal geometry."""
        return {
            "format": self.format,
            "file_shape": list(self.file_shape),
            "affine": self.affine.tolist(),
            "axes": list(self.axes),
            "flips": list(self.flips),
            "header": dict(self.header),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Geometry:
        """Make a geometry from what `to_json` returned.

        Raises
        ------
        InputError
            If a field is missing or not valid.
        """
        try:
            return cls(
                data["format"], data["file_shape"], data["affine"], data["axes"], data["flips"], dict(data["header"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"The stored geometry is damaged ({error!r}); add the volume again.") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Geometry) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.format, self.file_shape, self.axes, self.flips))


def corner_distance(geometry: Geometry, display_affine: np.ndarray) -> float:
    """Return how far, in voxels of ``geometry``, a second display affine moves the farthest corner voxel."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in geometry.shape], indexing="ij")).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    moved = np.linalg.solve(geometry.display_affine, display_affine @ corners) - corners
    return float(np.abs(moved[:3]).max())


def _numbers(values: Any) -> str:
    return " x ".join(f"{float(v):.6g}" for v in values)
