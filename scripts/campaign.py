"""Campaigns against the package: runs killed, damaged, or going on for long, and bad input.

    python scripts/campaign.py crashes --kills=200
    python scripts/campaign.py COMMAND --help

crashes    runs killed, stopped, damaged, on full and read-only disks; each must end as if unbroken
fuzz       files that are damaged, hostile or something else; each must give a clear error
long_run   thousands of steps of the demo: memory and compilations
exported   a run's models without this package, beside the run
document   the tables of docs/reliability.md from the JSON files in docs/reliability

All but the last one write one JSON file, and fail when something was lost, unclear or unbounded.
"""

from scripts import command_line

COMMANDS = ("crashes", "fuzz", "long_run", "exported", "document")

if __name__ == "__main__":
    command_line.run_command("scripts.campaigns", COMMANDS)
