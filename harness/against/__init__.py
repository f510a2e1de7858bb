"""Two kernels on one workload, and what of their differences is intended, known, or a mismatch."""
