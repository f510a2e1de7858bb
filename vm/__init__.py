"""Real kernels in QEMU guests: bring one up, drive it, survive what it does."""
