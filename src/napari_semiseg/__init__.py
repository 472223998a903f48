"""napari-semiseg."""
