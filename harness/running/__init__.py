"""The two sides of a pair on one workload: known issues, orders of threads, suppositions."""
