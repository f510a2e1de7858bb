"""What kernels did earlier: read, written, and the model held against it."""
