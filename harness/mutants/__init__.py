"""Does the harness see? Mutants of the model, held against what real kernels did.

A mutant is the model with one small mistake in one rule. Each is run against the recordings
of the catalogue and the others, and must show: `python -m harness.mutants` (docs/mutants.md).

`operators` makes the mistakes, `listing` chooses them and knows their rules, `planted` puts
one in place, `cases` are the recorded workloads, `hunt` looks for the first that differs, `herd`
does so for all in processes of their own, `told` is what people read.
"""
