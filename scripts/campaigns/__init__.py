"""One module for each command of scripts/campaign.py, and what they share.

A command's module has absl flags (of names that no other command has), `main()`, which ends with
`report.finish(...)`, and `tables(result)`, the ifgan_jax.tables.Table list that is printed and that
docs/reliability.md shows.
"""
