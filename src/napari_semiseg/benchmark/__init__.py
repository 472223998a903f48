"""A simulated annotator: which method segments best from how many slices, on cases that are finished already."""
