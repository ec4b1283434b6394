"""What an instruction-tuned run can do: MMLU and BBH through lm-evaluation-harness, MT-Bench with a judge.

A finished run is loaded, evaluated and left with a record of its own; nothing here trains. Torch and
lm-evaluation-harness are imported only once an evaluation is due.
"""
