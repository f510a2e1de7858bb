"""The harness joins subjects: it runs two on one workload and explains where they part."""
