"""Makes `python -m napari_semiseg.cli` work."""

from napari_semiseg.cli import main

if __name__ == "__main__":
    main()
