"""Generators of workloads, each reproducible from a seed and a number alone."""
