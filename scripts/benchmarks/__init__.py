"""One module for each command of scripts/benchmark.py, and what they share.

A command's module has absl flags (of names that no other command has), `main()`, which ends with
`report.finish(...)`, and `tables(result)`, the ifgan_jax.tables.Table list that is printed and that
docs/benchmarks.md shows. It is imported only when it is asked for.
"""
