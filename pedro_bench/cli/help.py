"""Help: what can be typed, found by listing conf/ and so always true; imports nothing heavy."""

from pedro_bench.cli.options import groups, options

_HEAD = """\
Trains a method on a task, evaluates it, and leaves one record for each seed.

  python -m pedro_bench [group=option ...] [key=value ...]
  python -m pedro_bench -m method=pedro,lora task=boolq,sst2    every combination
"""

_KEYS = """\
Keys:
  seeds=[0,1,2,3,4]     one record each; the tables show the median
  suite=main            folder under results_dir/runs that the records go to
  results_dir=results   records, predictions and tables
  output_dir=outputs    working files: checkpoints, best adapters
  output=text|json      a table for people, or one JSON object on standard output
  rerun=false           true runs finished keys again
  retry=false           true runs failed and interrupted runs only
  fail_fast=false       true stops at the first failed run; else the others go on
  keep_checkpoints=false  of a finished run; its best adapter always stays
  workers=auto          processes that train side by side; auto: one a core, where a run takes one thread
  lease_seconds=120     a worker without a sign of life for so long gives its run to another
  meeting_seconds=60    processes of one accelerate launch wait so long for each other at the start
  device=auto           auto, cpu, cuda or cuda:N
  <group>.<key>=value   any setting of a group, such as method.r=6 or trainer.max_steps=100
  method.budget=8.9e6   the size (such as method.r) that trains nearest to so many matrix entries

Flags:
  -m, --multirun        sweep over comma-separated values; finished runs are skipped
  --config-dir DIR      options and modules of your own: DIR/method/<name>.yaml, DIR/<name>.py
  --cfg                 print the configuration and stop
  --version             print the version and stop
  -h, --help            print this and stop

Examples:
  python -m pedro_bench method=pedro task=boolq
  python -m pedro_bench method=lora method.r=8 task=squad 'seeds=[0]' output=json
  python -m pedro_bench method=pedro task=sst2 data=files data.root=DIR
  python -m pedro_bench -m method=pedro method.r=3,6,12,24
  python -m pedro_bench -m +experiment=micro_table4

Other commands (each as python -m pedro_bench.cli.<name>):
  efficiency  speed and memory of generation, method against method
  figures  training curves, scores by parameters, learned activations
  inspect  what the model sees: splits, an example, token lengths
  instruct MMLU, BBH and MT-Bench of an instruction-tuned run
  pack     a finished suite's records and predictions as two Parquet files
  params   parameters of every method on a backbone; budget=8.9e6 sizes each
  plan     what a grid holds, and what time and memory it will take
  score    scores predictions of any system
  tables   tables from records

Exit codes: 0 done, 1 a run failed, 2 bad input."""


def help_text() -> str:
    """Return the help of `python -m pedro_bench`."""
    width = max((len(group) for group in groups()), default=0)
    lines = [f"  {group:<{width}}  {' '.join(options(group))}" for group in groups()]
    return "\n".join([_HEAD, "Groups and their options:", *lines, "", _KEYS])
