"""Tables 1 and 2, Figures 5 and 6 from all results there are; see `ifgan_jax.paper_tables`.

    python scripts/report.py --results=runs/tables/results --output=runs/tables

Several folders of results, of several machines, are given with commas. A cell nobody ran reads
"not run".

    python scripts/report.py --study=docs/study/development --output=runs/study

is the table of the study on rendered faces, and those and figures of its leak probes
(`ifgan_jax.study`).

    python scripts/report.py --compare=runs/demo,runs/demo/baseline --output=runs/comparison.html

is one page of several runs side by side (`ifgan_jax.comparison`).
"""

from pathlib import Path

from absl import flags

from scripts import command_line

RESULTS = flags.DEFINE_list("results", None, "Folders of results, with commas.")
STUDY = flags.DEFINE_string("study", None, "Folder of the study's results.")
COMPARE = flags.DEFINE_list(
    "compare", None, "Folders of runs, with commas, to be laid side by side."
)
OUTPUT = flags.DEFINE_string(
    "output", None, "Folder of tables and figures, made if absent; for --compare the page's file."
)


def main() -> None:
    from ifgan_jax import comparison, study
    from ifgan_jax.paper_tables import write_tables
    from ifgan_jax.tables import markdown

    output = Path(OUTPUT.value)
    if sum(flag.value is not None for flag in (RESULTS, STUDY, COMPARE)) != 1:
        raise ValueError("--results, --study or --compare: give one of them")
    if COMPARE.value is not None:
        if output.is_dir():
            raise IsADirectoryError(f"--output={output} is a folder: name the page's file")
        comparison.write_comparison([Path(folder) for folder in COMPARE.value], output)
        print(f"page: {output}")
        return
    if STUDY.value:
        print("\n\n".join(map(markdown, study.write(Path(STUDY.value), output))))
        return
    tables = write_tables([Path(folder) for folder in RESULTS.value], output)
    print("\n\n".join(map(markdown, tables)))
    print(f"\npage: {output / 'tables.html'}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["output"])
    command_line.run(main)
