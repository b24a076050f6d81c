"""Networks of torch with packed layers, and layers of a structure in training."""
