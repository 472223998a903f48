"""Spatial registration with SimpleITK: between volumes and between slices of one volume (methods.md 6, 12-F)."""
