"""Workloads: file system configurations and the operations that run on them."""
