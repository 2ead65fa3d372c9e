"""Campaigns against the package: real runs that are killed, damaged, or go on for long.

    python scripts/campaign.py crashes --kills=200
    python scripts/campaign.py COMMAND --help

crashes    runs killed, stopped, damaged, on full and read-only disks; each must end as if unbroken
long_run   thousands of steps of the demo: memory and compilations
document   the tables of docs/reliability.md from the JSON files in docs/reliability

The first two print their tables, write one JSON file (--output), and fail when something was lost.
"""

from scripts import command_line

COMMANDS = ("crashes", "long_run", "document")

if __name__ == "__main__":
    command_line.run_command("scripts.campaigns", COMMANDS)
