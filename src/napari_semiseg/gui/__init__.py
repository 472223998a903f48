"""The napari panel; importing this package imports neither Qt nor napari."""
