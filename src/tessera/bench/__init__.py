"""Benchmarks: candidates in turn on the same picture, each result compared with the fp32 reference.

`network` runs engines and peers in this process, `processes` whole programs; both give a `BenchResult`, which
`tables` writes as JSON and Markdown. Other work on the machine slows all candidates of a round alike, so ratios are
taken within rounds.
"""
