"""Two traces of one workload held against each other."""
