"""Regions of images and labels: pure functions of arrays, without torch."""
