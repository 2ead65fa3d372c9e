"""Speed, memory and compile time, measured or planned, as a table and as JSON.

    python scripts/benchmark.py step --size=demo --against=torch
    python scripts/benchmark.py COMMAND --help

step        the compiled train step, alone or beside PyTorch's
operations  its parts one by one, beside PyTorch's
profile     where its time goes on the device, by the profiler
remat       it under each remat policy: memory against time
attention   the attention core beside the plain formula
input       what real data costs the step
compile     the time to the first step, and to the first step of the next start
inference   G + E on one face and on 64, alone or beside PyTorch's
plan        the step on a TPU that is not there
document    docs/benchmarks.md from the JSON files in docs/benchmarks

All but the last print their tables, write one JSON file (--output) and end with one line of JSON,
for scripts.
"""

from scripts import command_line

COMMANDS = (
    "step", "operations", "profile", "remat", "attention", "input", "compile", "inference", "plan",
    "document",
)  # fmt: skip

if __name__ == "__main__":
    command_line.run_command("scripts.benchmarks", COMMANDS)
