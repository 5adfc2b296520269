"""Exact intervals, e-processes, paired tests, multiplicity and planning: numbers in, numbers out.

interval      what is handed on: `Interval`, `PValue`
binomial      a rate at fixed n: `clopper_pearson`, `wilson`, `rate_at_most`, `rate_at_least`
evalues       what is handed on by tests with optional stopping: `EResult`
eprocess      a rate with optional stopping: `rate_e_test`, `RateEProcess`, `RateMixture`
betting       a bounded mean: `betting_interval`, `BettingSequence`, `betting_test`
paired        before and after on the same prompts: `tango_test`, `tango_interval`, `paired_tost`, `mean_tost`
multiplicity  several tests: `holm`, `e_bh`, merged e-values, AND, the error of attempt number j
planning      how many samples: `plan_rate`, `plan_paired`, `stopping_time`
location      `median_interval`, `cluster_mean_interval`
simulate      whether all of it keeps its promises, measured
"""
