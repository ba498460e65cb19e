"""Choose the references of each frame or view, and fit them to the network's frames."""
